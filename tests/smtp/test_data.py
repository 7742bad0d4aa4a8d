"""DATA and BDAT framing: the end of data, transparency, and that cutting changes nothing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.smtp.data import DataReader, bdat_chunks, data_block, dot_stuff, in_one_piece

LINE_SOUP = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\x00", b"\xc3", b"\r\n", b"\r\n."])).map(b"".join)


def read(*pieces: bytes) -> tuple[bytes, bool, bytes]:
    reader = DataReader()
    content = b""
    for index, piece in enumerate(pieces):
        content += reader.feed(piece)
        if reader.ended:
            return content, True, reader.rest + b"".join(pieces[index + 1 :])
    return content, False, b""


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.parametrize(
    "impostor",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\r\n.\r\r\n",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n.\x00\r\n",
        b"\r\n\x00.\r\n",
        b"\r\n. \r\n",
        b"\r\n.\r\x00\n",
        b"\n\r.\r\n",
        b"\r\n.\n\r\n"[:5],
    ],
)
def test_only_crlf_dot_crlf_ends_data_however_it_is_cut(impostor):
    stream = b"Subject: a\r\n\r\nbefore" + impostor + b"after\r\n.\r\nQUIT\r\n"
    whole = read(stream)
    assert whole[1]
    assert b"after" in whole[0]
    assert whole[2] == b"QUIT\r\n"
    for first in range(len(stream)):
        assert read(stream[:first], stream[first:]) == whole
        for second in range(first, len(stream)):
            assert read(stream[:first], stream[first:second], stream[second:]) == whole


@pytest.mark.rfc(5321, "4.1.1.4")
@given(LINE_SOUP, st.booleans())
def test_a_message_in_one_piece_is_what_a_reader_makes_of_it(octets, end):
    wire = octets + b"\r\n.\r\n" if end else octets
    content, ended, rest = read(wire)
    dots = wire.startswith(b".") or b"\r\n." in wire[: -len(b".\r\n")]
    assert in_one_piece(wire) == (content if ended and not rest and not dots else None)


@pytest.mark.rfc(5321, "4.5.2")
@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"...\r\n..\r\n.\r\n", b"..\r\n.\r\n"),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\n..b\r\n.\r\n", b"a\n..b\r\n"),
        (b"a\r..b\r\n.\r\n", b"a\r..b\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
    ],
)
def test_exactly_one_leading_dot_of_a_line_is_removed(wire, content):
    assert read(wire) == (content, True, b"")
    assert read(*(wire[at : at + 1] for at in range(len(wire)))) == (content, True, b"")


@given(LINE_SOUP, st.lists(st.integers(0, 400)))
@pytest.mark.rfc(5321, "4.5.2")
def test_what_is_stuffed_is_read_back_whole_or_in_pieces(content, cuts):
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    wire = data_block(content) + b"NOOP\r\n"
    bounds = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[start:end] for start, end in itertools.pairwise(bounds)]
    assert read(wire) == (content, True, b"NOOP\r\n")
    assert read(*pieces) == (content, True, b"NOOP\r\n")


def test_content_without_dot_lines_is_not_copied():
    content = b"Subject: a\r\n\r\nbody\r\n"
    assert dot_stuff(content) is content


@pytest.mark.rfc(5321, "4.1.1.4")
def test_a_missing_last_crlf_is_added_before_the_end():
    assert data_block(b"a") == b"a\r\n.\r\n"
    assert data_block(b"a\r\n") == b"a\r\n.\r\n"
    assert data_block(b"") == b".\r\n"


def test_feeding_after_the_end_is_our_own_mistake():
    reader = DataReader()
    reader.feed(b".\r\n")
    with pytest.raises(ValueError, match="after the end"):
        reader.feed(b"x")


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize(
    ("octets", "size", "wire"),
    [
        (b"", 4, b"BDAT 0 LAST\r\n"),
        (b"abcd", 4, b"BDAT 4 LAST\r\nabcd"),
        (b"abcde", 4, b"BDAT 4\r\nabcdBDAT 1 LAST\r\ne"),
        (b".\r\n.\r\n", 100, b"BDAT 6 LAST\r\n.\r\n.\r\n"),
    ],
)
def test_bdat_sends_the_octets_as_they_are(octets, size, wire):
    assert b"".join(command + bytes(chunk) for command, chunk in bdat_chunks(octets, size)) == wire
