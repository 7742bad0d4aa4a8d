"""Encoded-words, transfer encodings, charsets: decoding what real mail holds, encoding what the standards allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.charset import codec_name, decode_text
from mailsandbox.message.transfer import (
    clean_base64,
    decode_base64,
    decode_quoted_printable,
    decode_transfer,
    encode_base64,
    encode_quoted_printable,
)
from mailsandbox.message.words import ENCODED_WORD, decode_header_text, decode_word, encode_header_text, encode_words


@pytest.mark.rfc(2047, "8")
@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"plain", "plain"),
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  \r\n  =?ISO-8859-2?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?utf-8?b?w7w=?=", "ü"),
        (b"=?utf-8*de?q?=C3=BC?=", "ü"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        (b"x =?utf-8?q?=C3=BC?= =?utf-8?q?y?= z", "x üy z"),
        (b"=?x-mars?q?=C3=BC?=", "\ufffd\ufffd"),
        (b"=?utf-8?q?=FC?=", "\ufffd"),
        ("raw ü".encode(), "raw ü"),
        (b"raw \xfc", "raw ü"),
        (b"=?utf-8?z?x?= =?broken", "=?utf-8?z?x?= =?broken"),
        (b"one\r\n two", "one two"),
    ],
)
def test_header_text_is_decoded(octets, text):
    assert decode_header_text(octets) == text


@given(st.text(min_size=1, max_size=120), st.integers(20, 75))
def test_text_survives_encoded_words_which_keep_to_75_characters(text, room):
    words = encode_words(text.encode("utf-8", "replace"), first_room=room)
    assert all(len(word) <= 75 and ENCODED_WORD.fullmatch(word) for word in words)
    assert decode_header_text(b" ".join(words)) == text.encode("utf-8", "replace").decode()
    for word in words:
        assert "\ufffd" not in decode_header_text(word).replace("\ufffd" if "\ufffd" in text else "", "")


@given(st.binary(min_size=1, max_size=200))
def test_octets_survive_encoded_words_whatever_they_are(octets):
    decoded = b"".join(
        decode_word(found[2], found[3]) for word in encode_words(octets) if (found := ENCODED_WORD.fullmatch(word))
    )
    assert decoded == octets


@given(st.binary(max_size=100))
def test_decoding_header_text_never_fails(octets):
    assert isinstance(decode_header_text(octets), str)
    assert isinstance(decode_header_text(b"=?utf-8?q?" + octets + b"?="), str)


def test_ascii_text_is_left_alone_but_for_what_looks_encoded():
    assert encode_header_text("plain text") == "plain text"
    assert decode_header_text(encode_header_text("Grüße =?").encode()) == "Grüße =?"
    assert "\r" not in encode_header_text("a\r\nBcc: evil@x.test")


mail_text = st.lists(
    st.one_of(
        st.binary(max_size=90), st.sampled_from([b".", b"..", b"From here", b" ", b"\t ", b"=", b"x" * 77, b"--b"])
    )
).map(b"\r\n".join)


@pytest.mark.rfc(2045, "6.7")
@given(mail_text)
def test_quoted_printable_is_safe_on_the_wire_and_decodes_to_what_went_in(octets):
    encoded = encode_quoted_printable(octets)
    assert encoded.isascii()
    assert b"\0" not in encoded
    rows = encoded.split(b"\r\n")
    assert all(len(row) <= 76 for row in rows)
    assert not any(b"\r" in row or b"\n" in row or row.endswith((b" ", b"\t")) for row in rows)
    assert not any(row.startswith((b".", b"From ")) for row in rows)
    assert decode_quoted_printable(encoded) == octets


@pytest.mark.rfc(2045, "6.8")
@given(st.binary(max_size=400))
def test_base64_has_lines_of_76_and_decodes_to_what_went_in(octets):
    encoded = encode_base64(octets)
    assert all(len(row) == 76 for row in encoded.split(b"\r\n")[:-1])
    assert decode_base64(encoded) == octets


@pytest.mark.rfc(2045, "6.7")
@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"a=3D=\r\nb \t\r\nc", b"a=b\r\nc"),
        (b"a=\nb", b"ab"),
        (b"a=  \r\nb", b"ab"),
        (b"=zz == =", b"=zz == "),
        (b"=fc\xfc", b"\xfc\xfc"),
        (b"=\rx", b"=\rx"),
    ],
)
def test_quoted_printable_is_decoded_tolerantly(encoded, decoded):
    assert decode_quoted_printable(encoded) == decoded


@pytest.mark.rfc(2045, "6.8")
@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"YWJj", b"abc"),
        (b"YW\xffJ\0j!", b"abc"),
        (b"YWI", b"ab"),
        (b"YWJjZ", b"abc"),
        (b"YQ==YQ==", b"a"),
        (b"=", b""),
    ],
)
def test_base64_is_decoded_tolerantly_and_cleaning_does_not_change_that(encoded, decoded):
    assert decode_base64(encoded) == decoded
    assert decode_base64(clean_base64(encoded)) == decoded


@given(st.binary(max_size=200), st.sampled_from(["base64", "quoted-printable", "x-uuencode", "7bit", "nonsense"]))
def test_decoding_a_body_never_fails(octets, encoding):
    assert isinstance(decode_transfer(octets, encoding), bytes)


def test_uuencoded_bodies_are_decoded():
    assert decode_transfer(b"begin 644 x.txt\r\n#86)C\r\n`\r\nend\r\n", "x-uuencode") == b"abc"


@pytest.mark.parametrize(
    "label", ["rot13", "hex", "zlib", "idna", "unicode_escape", "undefined", "", "x" * 100, "a\0b", "ü"]
)
def test_pythons_own_codecs_are_no_charsets(label):
    assert codec_name(label) is None
    assert isinstance(decode_text(b"\\x41\xff", label), str)


@given(st.binary(max_size=80), st.text(max_size=20))
def test_decoding_text_never_fails(octets, label):
    assert isinstance(decode_text(octets, label), str)
