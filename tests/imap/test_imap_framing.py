"""Framing: octets to commands, whatever the pieces they come in, and within its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap.framing import MAX_LINE, CommandOctets, Framer, LiteralAsked, Refused


def commands(framer: Framer, *, accept: bool = True) -> list[object]:
    found: list[object] = []
    while (event := framer.next_command()) is not None:
        if isinstance(event, LiteralAsked):
            framer.accept_literal() if accept else framer.refuse_literal()
        else:
            found.append(event)
    return found


def test_a_line_is_a_command() -> None:
    framer = Framer(lambda text: 100)
    framer.feed(b"a NOOP\r\nb NOOP\r\n")
    assert commands(framer) == [CommandOctets(b"a NOOP"), CommandOctets(b"b NOOP")]


@pytest.mark.rfc(9051, "4.3")
def test_literals_keep_their_place_and_their_octets() -> None:
    framer = Framer(lambda text: 100)
    framer.feed(b"a LOGIN {3+}\r\nx\r\n {0+}\r\n\r\n")
    assert commands(framer) == [CommandOctets(b"a LOGIN {3+}\r\n {0+}\r\n", (b"x\r\n", b""))]


@pytest.mark.rfc(9051, "4.3")
def test_a_synchronising_literal_is_asked_for_and_can_be_refused() -> None:
    framer = Framer(lambda text: 100)
    framer.feed(b"a APPEND INBOX {5}\r\n")
    assert framer.next_command() == LiteralAsked(b"a APPEND INBOX {5}", 5, 0)
    assert framer.next_command() is None
    framer.refuse_literal()
    framer.feed(b"b NOOP\r\n")
    assert commands(framer) == [CommandOctets(b"b NOOP")]


@pytest.mark.rfc(7888, "4")
def test_a_refused_literal_that_comes_unasked_is_swallowed_with_its_command() -> None:
    framer = Framer(lambda text: 4)
    framer.feed(b"a APPEND INBOX {5+}\r\n12\r\n5 {3+}\r\nabc)\r\nb NOOP\r\n")
    assert commands(framer) == [
        Refused(b"a", "Literal too large or not allowed here", too_big=True),
        CommandOctets(b"b NOOP"),
    ]


def test_a_huge_literal_costs_no_memory() -> None:
    framer = Framer(lambda text: 4)
    framer.feed(b"a APPEND INBOX {1000000+}\r\n")
    for _ in range(100):
        framer.feed(b"x" * 10_000)
        assert framer.next_command() is None
        assert framer.buffered == 0
    framer.feed(b"\r\nb NOOP\r\n")
    assert [type(each) for each in commands(framer)] == [Refused, CommandOctets]


def test_an_over_long_line_is_refused_and_the_next_is_heard() -> None:
    framer = Framer(lambda text: 4)
    found = []
    for _ in range(30):
        framer.feed(b"a NOOP " + b"x" * 9_000)
        found += commands(framer)
        assert framer.buffered <= MAX_LINE + 10_000
    framer.feed(b"\r\nb NOOP\r\n")
    found += commands(framer)
    assert found == [Refused(b"a", "Command line over 65536 octets"), CommandOctets(b"b NOOP")]


def test_a_line_of_exactly_the_limit_is_heard() -> None:
    framer = Framer(lambda text: 4)
    framer.feed(b"a " + b"x" * (MAX_LINE - 2) + b"\r\n")
    assert commands(framer) == [CommandOctets(b"a " + b"x" * (MAX_LINE - 2))]


@pytest.mark.rfc(7888, "5")
def test_literal_minus_allows_4096_octets_unasked() -> None:
    framer = Framer(lambda text: 100_000, nonsync_limit=4_096)
    framer.feed(b"a X {4096+}\r\n" + b"x" * 4_096 + b"\r\nb X {4097+}\r\n" + b"x" * 4_097 + b"\r\n")
    assert [type(each) for each in commands(framer)] == [CommandOctets, Refused]


@pytest.mark.parametrize("marker", [b"{1_0}", b"{-3}", b"{}", b"{+}", b"{99999999999999999999}", b"{ 3}", b"{3} "])
def test_what_is_no_literal_marker_is_text(marker: bytes) -> None:
    framer = Framer(lambda text: 100)
    framer.feed(b"a X " + marker + b"\r\n")
    assert commands(framer) == [CommandOctets(b"a X " + marker)]


def test_a_line_that_ends_in_lf_alone_is_taken_and_noted() -> None:
    framer = Framer(lambda text: 100)
    framer.feed(b"a NOOP\nb NOOP\r\n")
    assert commands(framer) == [CommandOctets(b"a NOOP", bare_lf=True), CommandOctets(b"b NOOP")]


PIECES = st.lists(
    st.sampled_from(
        [b"a NOOP\r\n", b"b X {3+}\r\n", b"abc", b"\r\n", b"{2}\r\n", b"x", b"\n", b"c {9+}\r\n", b"~{1+}\r\n", b"\0"]
    ),
    max_size=30,
)


@given(PIECES, st.booleans())
def test_fed_whole_is_fed_octet_by_octet(pieces: list[bytes], accept: bool) -> None:
    octets = b"".join(pieces)
    whole = Framer(lambda text: 5)
    whole.feed(octets)
    at_once = commands(whole, accept=accept)
    single = Framer(lambda text: 5)
    one_by_one: list[object] = []
    for index in range(len(octets)):
        single.feed(octets[index : index + 1])
        one_by_one += commands(single, accept=accept)
    assert one_by_one == at_once


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_octets_in_any_pieces_raise_nothing(octets: bytes, cuts: list[int]) -> None:
    framer = Framer(lambda text: 20)
    previous = 0
    for cut in [*sorted(cuts), len(octets)]:
        framer.feed(octets[previous:cut])
        previous = max(previous, cut)
        commands(framer)
