"""Replies on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.smtp.replies import MAX_REPLY_LINE, Reply, reply
from mailsandbox.smtp.reply_reader import ReplyReader


@pytest.mark.rfc(5321, "4.2.1")
@pytest.mark.rfc(2034, "4")
def test_every_line_has_code_and_enhanced_code():
    assert reply(250, "2.1.0", "a", "b").encode() == b"250-2.1.0 a\r\n250 2.1.0 b\r\n"
    assert reply(354, "", "go on").encode() == b"354 go on\r\n"
    assert reply(250, "").encode() == b"250 \r\n"


@pytest.mark.rfc(5321, "4.2")
def test_text_is_ascii_unless_the_client_asked_for_utf8():
    assert reply(553, "5.6.7", "<é> (RFC 6531 §3.5)").encode() == b"553 5.6.7 <\\u00e9> (RFC 6531 section 3.5)\r\n"
    assert reply(553, "5.6.7", "é").encode(utf8=True) == "553 5.6.7 é\r\n".encode()


@pytest.mark.rfc(5321, "4.2")
@pytest.mark.parametrize("utf8", [False, True])
def test_a_line_end_in_the_text_does_not_make_another_reply(utf8):
    assert reply(553, "5.7.1", "a\r\n250 \x00b").encode(utf8=utf8) == b"553 5.7.1 a??250 ?b\r\n"


@given(
    st.integers(200, 599),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    st.booleans(),
)
@pytest.mark.rfc(5321, "4.5.3.1.5")
def test_no_line_is_longer_than_512_octets_and_the_reader_takes_them(code, lines, utf8):
    wire = Reply(code, "5.7.1", tuple(lines)).encode(utf8=utf8)
    assert all(len(line) <= MAX_REPLY_LINE for line in wire.splitlines(keepends=True))
    assert [one.code for one in ReplyReader().feed(wire)] == [code]
