"""Laws of the framing: what is stuffed can be undone, what is fed in pieces is read as a whole."""

import poplib
import socket
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailsandbox.access.pop3 import codec
from mailsandbox.access.pop3.codec import LineReader, Unusable

ODD = st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\r\n.", b"a", b"..", b"\0", b"\xff"]), max_size=60).map(
    b"".join
)


def undone(wire: bytes) -> bytes:
    """What a client by the book makes of a multi-line response: RFC 1939 §3."""
    assert wire == b".\r\n" or wire.endswith(b"\r\n.\r\n")
    assert b"\r\n.\r\n" not in wire[:-3]
    lines = wire[:-3].split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


def whole(octets: bytes) -> bytes:
    content = codec.framed(octets)
    return content.lines + content.end


@pytest.mark.rfc(1939, "3")
@given(ODD)
@example(b".")
@example(b"")
@example(b"\r\n.\r\n")
@example(b"\r")
def test_stuffing_undone_gives_the_message_and_a_final_line_end(octets):
    expected = octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
    assert undone(whole(octets)) == expected


@pytest.mark.rfc(1939, "3")
@given(ODD, st.integers(min_value=3, max_value=9))
def test_a_large_message_in_pieces_is_the_same_as_in_one(octets, chunk):
    before, codec.CHUNK = codec.CHUNK, chunk
    try:
        assert b"".join(codec.stuffed_in_chunks(octets)) == whole(octets)
    finally:
        codec.CHUNK = before


@pytest.mark.parametrize("shift", range(-4, 5))
def test_a_dot_line_at_a_chunk_s_edge_is_stuffed(shift):
    octets = b"x" * (codec.CHUNK + shift) + b"\r\n.\r\n..\r\n" + b"y" * codec.CHUNK
    assert b"".join(codec.stuffed_in_chunks(octets)) == whole(octets)
    assert undone(whole(octets)) == octets + b"\r\n"


@given(st.binary(max_size=300) | ODD, st.lists(st.integers(min_value=1, max_value=40), max_size=20))
def test_lines_fed_in_pieces_are_the_lines_fed_whole(octets, cuts):
    def lines(pieces):
        reader, found = LineReader(), []
        for piece in pieces:
            reader.feed(piece)
            while (heard := reader.next()) is not None:
                found.append((heard, reader.bare))
        return found, reader.waiting

    pieces, position = [], 0
    for cut in cuts:
        pieces.append(octets[position : position + cut])
        position += cut
    assert lines([*pieces, octets[position:]]) == lines([octets])


def test_a_line_without_end_is_refused_once_thrown_away_and_given_up():
    reader = LineReader()
    heard = []
    for _ in range(100):
        reader.feed(b"x" * 10_000)
        assert reader.waiting <= codec.MAX_LINE + 10_000
        heard.append(reader.next())
    assert heard.count(Unusable.TOO_LONG) == 1
    reader.feed(b"\r\nNOOP\r\n")
    assert (reader.next(), reader.next()) == (b"NOOP", None)
    heard = []
    for _ in range(3):
        reader.feed(b"x" * (codec.MAX_SKIPPED // 2))
        heard.append(reader.next())
    assert heard == [Unusable.TOO_LONG, None, Unusable.FLOOD]


@pytest.mark.rfc(1939, "7")
@given(ODD, st.integers(min_value=0, max_value=5))
def test_top_is_the_beginning_of_the_message_with_n_body_lines(octets, lines):
    part = codec.top(octets, lines)
    assert octets.startswith(part)
    head, blank, body = (b"", b"\r\n", octets[2:]) if octets.startswith(b"\r\n") else octets.partition(b"\r\n\r\n")
    if not blank:
        assert part == octets
    else:
        wanted = body.split(b"\r\n")[:lines]
        kept = b"\r\n".join(wanted) + (b"\r\n" if len(body.split(b"\r\n")) > lines > 0 else b"")
        assert part == head + blank + (kept if lines else b"")


def test_a_message_that_ends_too_early_for_clients_that_go_by_lf_is_noticed():
    for octets, misleading in [
        (b"a\n.\r\nrest\r\n", True),
        (b"a\n.\nrest\r\n", True),
        (b"a\r\n.\r\nrest\r\n", False),
        (b"a\n.b\r\n", False),
        (b"\r\n.\r\nb\n.\r\n", True),
    ]:
        assert codec.framed(octets).misleading is misleading, octets


def test_a_misleading_message_really_misleads_the_standard_library():
    ours, theirs = socket.socketpair()
    threading.Thread(
        target=lambda: (ours.sendall(b"+OK\r\n"), ours.recv(99), ours.sendall(b"+OK\r\n" + whole(b"a\n.\r\nb\r\n")))
    ).start()
    client = poplib.POP3.__new__(poplib.POP3)
    client._debugging, client.sock, client.file = 0, theirs, theirs.makefile("rb")
    client._getresp()
    assert client.retr(1)[1] == [b"a"]
    client.file.close()
    ours.close()
    theirs.close()
