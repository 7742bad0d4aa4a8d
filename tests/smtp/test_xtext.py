"""xtext: decode(encode(x)) == x, and what is not xtext."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.smtp.xtext import decode_utf8_address, decode_xtext, encode_utf8_address, encode_xtext, is_xtext


@given(st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.rfc(3461, "4")
def test_what_is_encoded_is_decoded_again(text):
    encoded = encode_xtext(text)
    assert is_xtext(encoded)
    assert decode_xtext(encoded) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.rfc(6533, "3")
def test_a_utf8_address_survives_ascii(text):
    encoded = encode_utf8_address(text)
    assert encoded.isascii()
    assert is_xtext(encoded)
    assert decode_utf8_address(encoded) == text


@pytest.mark.rfc(3461, "4")
def test_the_plus_sign_is_written_out():
    assert encode_xtext("QQ+7=a b") == "QQ+2B7+3Da+20b"
    assert decode_xtext("QQ+2B7") == "QQ+7"


@pytest.mark.parametrize("text", ["a+b", "a+2b", "a=b", "a b", "é", "+", "+2"])
def test_what_is_not_xtext_is_not_decoded(text):
    assert not is_xtext(text)
    with pytest.raises(ValueError, match="not xtext"):
        decode_xtext(text)
