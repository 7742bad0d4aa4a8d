import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.imap_strings import nstring, one_spaced, string, unfolded


@pytest.mark.rfc(9051, "4.3")
@pytest.mark.parametrize(
    ("octets", "wire"),
    [
        (b"plain", b'"plain"'),
        (b"", b'""'),
        (b'say "hi"', rb'"say \"hi\""'),
        (rb"back\slash", rb'"back\\slash"'),
        (b'"""""', b'{5}\r\n"""""'),
        (b"caf\xc3\xa9", b"{5}\r\ncaf\xc3\xa9"),
        (b"two\r\nlines", b"{10}\r\ntwo\r\nlines"),
        (b"n\0l", b"{5}\r\nn\xef\xbf\xbdl"),
        (b"NIL", b'"NIL"'),
    ],
)
def test_octets_are_quoted_where_that_is_allowed_and_short_and_a_literal_otherwise(octets, wire):
    assert string(octets) == wire


def test_absent_is_nil_and_empty_is_empty():
    assert nstring(None) == b"NIL"
    assert nstring(b"") == b'""'


@given(st.binary(max_size=200))
def test_any_octets_make_one_string_that_reads_back_as_they_were(imap_list, octets):
    assert imap_list(string(octets)) == octets.replace(b"\0", b"\xef\xbf\xbd")


@pytest.mark.rfc(5322, "2.2.3")
def test_unfolding_drops_the_line_end_and_keeps_the_blank():
    assert unfolded(b"a\r\n b\r\n\tc") == b"a b\tc"
    assert unfolded(b"a\nb\r\n") == b"a b"


def test_text_for_people_has_single_blanks():
    assert one_spaced(b"  a \r\n\t b  ") == b"a b"
