"""Cases 1-18 of the encoding specification, at the gates: single-part messages."""

import base64
import re

import pytest
from encoding_gates import (
    EIGHT,
    MIME,
    S7,
    S8,
    SB,
    SU,
    TRACE,
    UTF8,
    accepted,
    converted,
    mail,
    received,
    refused,
    relay,
    rules,
)

from mailsandbox.encoding import Accept, OnNeed, Refuse
from mailsandbox.message.transfer import decode_transfer

GERMAN = mail("From: a@alpha.test", "Subject: x", MIME, UTF8, EIGHT, "X-Last: y", "", "Grüße", "tschüß")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n.\r\n\xff\xfe"


def png(label: str = "binary") -> bytes:
    return mail(MIME, "Content-Type: image/png", f"Content-Transfer-Encoding: {label}", "") + PNG


def body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


@pytest.mark.rfc(6152, "3")
def test_case_1_clean_mail_with_odd_spacing_is_identical():
    odd = mail("Subject:x", "X-A:   y", "References: <a@b>", "\t<c@d>", " ", "X-B:", "", "text with trailing  ", "\t")
    assert accepted(odd).findings == ()


@pytest.mark.rfc(6152, "2")
def test_case_2_eight_bit_text_passes_a_hop_that_offers_8bitmime():
    assert accepted(GERMAN, S8).body == "8BITMIME"


@pytest.mark.rfc(6152, "3")
def test_case_3_eight_bit_text_becomes_quoted_printable_and_all_else_stays():
    sent = converted(GERMAN).octets
    trace = TRACE % (b"8bit", b"quoted-printable")
    expected = GERMAN.replace(b": 8bit\r\n", b": quoted-printable\r\n" + trace)
    assert sent == expected.replace("ü".encode(), b"=C3=BC").replace("ß".encode(), b"=C3=9F")
    assert sent.count(b"X-MIME-Autoconverted") == 1


@pytest.mark.rfc(6152, "3")
def test_case_4_a_site_that_does_not_convert_refuses():
    assert str(refused(GERMAN, on_need=OnNeed.BOUNCE).reply).startswith("554 5.6.3 ")


@pytest.mark.rfc(2045, "6.8")
def test_case_5_mostly_cyrillic_text_becomes_base64_over_its_crlf_form():
    text = mail("Съешь ещё этих мягких французских булок", "да выпей чаю") * 20
    sent = converted(mail(MIME, UTF8, EIGHT, "") + text).octets
    assert b"Content-Transfer-Encoding: base64\r\n" in sent
    assert base64.b64decode(body(sent)) == text
    assert sent.endswith(b"\r\n")


@pytest.mark.rfc(6152, "3")
def test_case_6_json_is_converted_and_decodes_to_the_octet():
    json = '{"name": "Jörg",\r\n "city": "Köln"}\r\n'.encode()
    sent = converted(mail(MIME, "Content-Type: application/json", EIGHT, "") + json).octets
    encoding = re.search(rb"(?i)transfer-encoding: ([a-z0-9-]+)", sent)
    assert encoding is not None
    assert decode_transfer(body(sent), encoding[1].decode()) == json


@pytest.mark.rfc(3030, "3")
@pytest.mark.parametrize("offers", [S7, S8], ids=["7bit", "8bitmime"])
def test_cases_7_and_9_a_binary_image_becomes_base64(offers):
    verdict = converted(png(), offers, body="BINARYMIME")
    assert b"Content-Transfer-Encoding: base64\r\n" in verdict.octets
    assert base64.b64decode(body(verdict.octets)) == PNG
    assert verdict.body == ""
    assert not verdict.use_bdat


@pytest.mark.rfc(3030, "3")
def test_case_8_a_binary_image_passes_a_binarymime_hop_by_bdat():
    verdict = accepted(png(), SB, body="BINARYMIME")
    assert (verdict.body, verdict.use_bdat) == ("BINARYMIME", True)


@pytest.mark.rfc(3030, "3")
def test_case_9_the_container_is_no_longer_labelled_binary():
    part = b"--b\r\n" + png() + b"\r\n--b--\r\n"
    message = mail(MIME, "Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: binary", "") + part
    sent = converted(message, S8, body="BINARYMIME").octets
    assert b"Encoding: binary" not in sent
    assert sent.count(b"Content-Transfer-Encoding: 7bit\r\n") == 1


@pytest.mark.rfc(3030, "3")
def test_case_10_binary_content_that_did_not_come_by_bdat_is_refused():
    # That DATA itself is answered 503 is tested with the SMTP server; a gate asked all the same says no.
    verdict = received(png(), body="BINARYMIME")
    assert isinstance(verdict, Refuse)
    assert isinstance(received(png(), body="BINARYMIME", via_bdat=True), Accept)


@pytest.mark.rfc(3030, "3")
def test_case_11_binary_content_is_refused_where_binarymime_is_not_offered():
    assert isinstance(received(png(), body="BINARYMIME", via_bdat=True, offers=S8), Refuse)


@pytest.mark.rfc(3030, "3")
def test_case_12_a_binary_label_on_plain_text_is_accepted_and_relabelled():
    labelled = mail(MIME, "Content-Type: text/plain", "Content-Transfer-Encoding: binary", "", "plain")
    verdict = received(labelled)
    assert isinstance(verdict, Accept)
    assert rules(verdict) == ["binary-label"]
    assert converted(labelled).octets == labelled.replace(b"binary", b"7bit")
    assert accepted(labelled, SB).octets == labelled


@pytest.mark.rfc(3030, "3")
@pytest.mark.parametrize("around", ["multipart/mixed", "Multipart/Mixed", "(of two) multipart/mixed"])
def test_case_12_a_binary_label_on_a_clean_part_is_relabelled_too(around):
    part = b"--b\r\nContent-Transfer-Encoding: binary\r\n\r\nplain\r\n--b--\r\n"
    labelled = mail(MIME, f"Content-Type: {around}; boundary=b", "") + part
    assert converted(labelled).octets == labelled.replace(b"binary", b"7bit")


@pytest.mark.rfc(6152, "3")
def test_case_13_undeclared_eight_bit_is_refused_or_marked():
    verdict = received(GERMAN, body="7BIT")
    assert isinstance(verdict, Refuse)
    assert str(verdict.reply).startswith("554 5.6.1 8-bit content without BODY=8BITMIME")
    lenient = received(GERMAN, "lenient", body="7BIT")
    assert isinstance(lenient, Accept)
    assert rules(lenient) == ["undeclared-8bit"]
    assert b"Gr=C3=BC=C3=9Fe" in converted(GERMAN).octets


@pytest.mark.rfc(1428, "3")
def test_case_14_unlabelled_eight_bit_text_gets_mime_fields_after_the_others():
    message = mail("Subject: x", "From: a@alpha.test", "", "ü")
    assert converted(message).octets == (
        b"Subject: x\r\nFrom: a@alpha.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n" + TRACE % (b"8bit", b"quoted-printable") + b"\r\n=C3=BC\r\n"
    )
    configured = converted(message, unlabelled_charset="iso-8859-15").octets
    assert b"charset=iso-8859-15\r\n" in configured


@pytest.mark.rfc(2045, "5.2")
def test_case_15_unlabelled_eight_bit_text_is_refused_where_the_site_says_so():
    verdict = refused(mail("Subject: x", "", "ü"), unlabelled=OnNeed.BOUNCE)
    assert verdict.reply.enhanced == "5.6.3"


@pytest.mark.rfc(2046, "4.1.2")
def test_case_16_a_us_ascii_label_stays_and_the_octets_survive():
    message = mail(MIME, "Content-Type: text/plain; charset=us-ascii", EIGHT, "", "Grüße")
    verdict = converted(message)
    assert b"charset=us-ascii\r\n" in verdict.octets
    assert b"Gr=C3=BC=C3=9Fe\r\n" in verdict.octets
    assert "8bit-in-us-ascii" in rules(verdict)


@pytest.mark.rfc(2045, "6.7")
def test_case_17_octets_that_are_not_what_the_label_says_survive():
    verdict = converted(mail(MIME, UTF8, EIGHT, "", b"caf\xe9"))
    assert b"caf=E9\r\n" in verdict.octets
    assert b"=EF=BF=BD" not in verdict.octets
    assert "invalid-utf8" in rules(verdict)


@pytest.mark.rfc(2045, "6.7")
@pytest.mark.parametrize("charset", ["windows-874", "x-unknown", "utf-7-of-mars"])
def test_case_18_an_unknown_charset_needs_no_codec(charset):
    verdict = converted(mail(MIME, f"Content-Type: text/plain; charset={charset}", EIGHT, "", b"a \xa1\xa2 thai word"))
    assert b"=A1=A2" in verdict.octets
    assert charset.encode() in verdict.octets


@pytest.mark.rfc(2045, "6.7")
def test_case_31_raw_octets_and_a_long_line_in_quoted_printable_are_repaired():
    message = mail(MIME, UTF8, "Content-Transfer-Encoding: quoted-printable", "", "ü=20=C3=BC " + "x" * 1500, "=")
    verdict = converted(message)
    assert b"X-MIME-Autoconverted" not in verdict.octets
    assert decode_transfer(body(verdict.octets), "quoted-printable") == decode_transfer(
        body(message), "quoted-printable"
    )


@pytest.mark.rfc(2045, "6.8")
def test_case_32_junk_in_base64_is_dropped():
    message = mail(
        MIME, "Content-Type: image/gif", "Content-Transfer-Encoding: base64", "", b"R0lG\xe9OD\xfflh", b"\0AQ=="
    )
    assert body(converted(message).octets) == b"R0lGODlhAQ==\r\n"


@pytest.mark.rfc(2045, "6.4")
@pytest.mark.parametrize("label", ["x-uuencode", "7bits"])
def test_case_33_an_unknown_encoding_cannot_be_converted(label):
    message = mail(MIME, UTF8, f"Content-Transfer-Encoding: {label}", "", "ü")
    assert refused(message).reply.enhanced == "5.6.3"
    assert accepted(message, S8).body == "8BITMIME"


@pytest.mark.rfc(5322, "2.1.1")
def test_case_34_a_long_line_of_text_is_broken_softly():
    message = mail(MIME, "Content-Type: text/plain", "", "x" * 1500)
    verdict = received(message)
    assert isinstance(verdict, Refuse)
    assert str(verdict.reply).startswith("554 5.6.0 ")
    assert rules(received(message, "lenient")) == ["long-line"]
    for offers in (S7, S8, SU):
        sent = converted(message, offers).octets
        assert b"x=\r\nx" in sent
        assert b"\r\n x" not in sent
    assert relay(message, SB).octets == message
