"""Reading replies: whole, in pieces, and what is no reply."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.errors import PeerViolation
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.smtp.reply_reader import MAX_LINE, MAX_LINES, ReplyReader

REPLIES = st.builds(
    Reply,
    st.integers(200, 599),
    st.sampled_from(["", "2.0.0", "4.4.1", "5.7.27"]),
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n\x00"), min_size=1), min_size=1).map(tuple),
)


@pytest.mark.rfc(5321, "4.2.1")
def test_a_reply_of_several_lines_is_one_reply_with_its_enhanced_code_once():
    assert ReplyReader().feed(b"250-2.1.0 first\r\n250 2.1.0 second\r\n") == [reply(250, "2.1.0", "first", "second")]


@pytest.mark.rfc(5321, "4.2")
@pytest.mark.parametrize("line", [b"250\r\n", b"250 \r\n", b"250 \n"])
def test_the_text_may_be_missing(line):
    assert ReplyReader().feed(line) == [reply(250, "", "")]


@given(st.lists(REPLIES), st.lists(st.integers(0, 2000)))
def test_replies_are_read_the_same_however_they_are_cut(replies, cuts):
    wire = b"".join(one.encode() for one in replies)
    bounds = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    whole, pieces = ReplyReader(), ReplyReader()
    expected = whole.feed(wire)
    read = [one for start, end in itertools.pairwise(bounds) for one in pieces.feed(wire[start:end])]
    assert read == expected
    assert [one.code for one in expected] == [one.code for one in replies]
    assert not whole.incomplete
    pieces.eof()


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not an SMTP reply"),
        (b"\r\n", "not an SMTP reply"),
        (b"099 no\r\n", "not an SMTP reply"),
        (b"600 no\r\n", "not an SMTP reply"),
        (b"250_no\r\n", "not an SMTP reply"),
        (b"25\r\n", "not an SMTP reply"),
        (b"250-a\r\n251 b\r\n", "changes its code"),
        (b"250 " + b"x" * MAX_LINE + b"\r\n", "longer than"),
        (b"x" * (MAX_LINE + 1), "longer than"),
        (b"250-a\r\n" * (MAX_LINES + 1), "more than"),
    ],
)
def test_what_is_no_reply_is_a_violation(wire, said):
    with pytest.raises(PeerViolation, match=said):
        ReplyReader().feed(wire)


@given(st.binary())
def test_garbage_raises_nothing_else(octets):
    try:
        ReplyReader().feed(octets)
    except PeerViolation:
        pass


def test_the_end_of_the_connection_inside_a_reply_is_a_violation():
    reader = ReplyReader()
    reader.feed(b"250-first\r\n")
    with pytest.raises(PeerViolation, match="in the middle"):
        reader.eof()
