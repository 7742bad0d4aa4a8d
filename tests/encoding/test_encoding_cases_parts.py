"""Cases 19-30 of the encoding specification, at the gates: multiparts, embedded messages, signed parts."""

import pytest
from encoding_gates import EIGHT, MIME, S7, S8, SU, TRACE, UTF8, accepted, converted, mail, received, refused, rules

from mailsandbox.message.spans import scan

MIXED = "Content-Type: multipart/mixed; boundary=b"


@pytest.mark.rfc(2045, "6.4")
def test_case_19_only_the_leaf_that_needs_it_changes_and_containers_are_relabelled():
    inner = mail(
        "Content-Type: multipart/alternative; boundary=i", EIGHT, "", "--i", "Content-Type: text/plain", "", "p", "--i",
        "Content-Type: text/html; charset=utf-8", EIGHT, "", "<p>ü</p>", "--i--",
    )  # fmt: skip
    message = (
        mail(MIME, MIXED, EIGHT, "", "the preamble", "--b")
        + inner
        + mail("--b", "Content-Type: text/plain", EIGHT, "", "ascii", "--b--")
    )
    sent = converted(message).octets
    expected = message.replace(b": 8bit", b": 7bit")
    trace = TRACE % (b"8bit", b"quoted-printable")
    html = b"text/html; charset=utf-8\r\nContent-Transfer-Encoding: "
    expected = expected.replace(html + b"7bit\r\n", html + b"quoted-printable\r\n" + trace)
    assert sent == expected.replace("<p>ü".encode(), b"<p>=C3=BC")


@pytest.mark.rfc(2046, "5.1.1")
def test_case_20_quoted_prefixed_and_padded_boundaries_split_as_they_should():
    one = mail('Content-Type: multipart/mixed; boundary="abab"', "", "--abab", "", "one ü", "--abab--")
    two = mail('Content-Type: multipart/mixed; boundary="a b"', "", "--a b\t", "", "two", "--a b--")
    head = mail('Content-Type: multipart/mixed; boundary="ab"', "", "--ab")
    message = head + one + b"--ab  \r\n" + two + b"--ab--\r\n"
    root = scan(message)
    assert [part.number for part in root.walk()] == ["", "1", "1.1", "2", "2.1"]
    assert b"--ab  \r\n" in converted(message).octets


@pytest.mark.rfc(2046, "5.1.1")
def test_case_21_without_closing_delimiter_and_blank_lines_the_tail_is_kept():
    message = mail(MIME, MIXED, "--b", UTF8, EIGHT, "", "ü", "--b", "tail without header ü", "and the end")
    verdict = converted(message)
    assert verdict.octets.endswith(b"tail without header =C3=BC\r\nand the end\r\n")
    assert "missing-close-delimiter" in rules(verdict)


@pytest.mark.rfc(2046, "5.1.1")
@pytest.mark.parametrize("field", ["Content-Type: multipart/mixed", MIXED])
def test_case_22_a_multipart_that_cannot_be_split_passes_as_it_is_or_not_at_all(field):
    assert accepted(mail(MIME, field, "", "no delimiter here"))
    assert refused(mail(MIME, field, EIGHT, "", "no delimiter ü here")).reply.enhanced == "5.6.0"


@pytest.mark.rfc(2046, "5.2.1")
def test_case_23_an_embedded_message_is_converted_inside_and_never_encoded():
    message = mail(
        MIME,
        MIXED,
        "",
        "--b",
        "Content-Type: message/rfc822",
        EIGHT,
        "",
        "Subject: Grüße",
        UTF8,
        EIGHT,
        "",
        "ü",
        "--b--",
    )
    sent = converted(message).octets
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: =?utf-8?" in sent
    assert b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nX-MIME-Autoconverted" in sent
    assert sent.endswith(b"\r\n\r\n=C3=BC\r\n--b--\r\n")


@pytest.mark.rfc(2046, "5.1.5")
def test_case_24_in_a_digest_a_part_without_header_is_a_message():
    message = mail(
        MIME, "Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: ü", "", "text ü", "--b--"
    )
    assert [part.content_type.name for part in scan(message).walk()] == [
        "multipart/digest",
        "message/rfc822",
        "text/plain",
    ]
    sent = converted(message).octets
    assert b"--b\r\n\r\nSubject: =?utf-8?" in sent
    assert b"charset=unknown-8bit" in sent


SIGNED = mail(MIME, "Content-Type: multipart/signed; micalg=x; boundary=s", EIGHT, "", "--s", UTF8, EIGHT, "") + mail(
    "signed ü", "--s", "Content-Type: application/pgp-signature", "", "-----BEGIN", "--s--"
)


@pytest.mark.rfc(1847, "2.1")
def test_case_25_eight_bit_inside_a_signed_part_is_refused():
    assert "8bit-in-protected" in rules(received(SIGNED, "lenient", body="8BITMIME"))
    verdict = refused(SIGNED)
    assert verdict.reply.enhanced == "5.6.2"
    assert "RFC 1847 §2.1" in verdict.reply.text
    assert accepted(SIGNED, S8).body == "8BITMIME"
    broken = converted(SIGNED, break_signatures=True).octets
    assert b"signed =C3=BC" in broken


@pytest.mark.rfc(1847, "2.1")
def test_case_26_a_seven_bit_signed_part_is_identical():
    signed = mail(
        MIME, "Content-Type: multipart/signed;", "\tboundary=s", "", "--s", "Content-Type: text/plain;", " charset=x",
        "", "trailing  ", "\ttab", "--s", "Content-Type: application/pgp-signature", "", "-----BEGIN", "--s--",
    )  # fmt: skip
    assert accepted(signed)


@pytest.mark.rfc(1847, "2.1")
def test_case_27_a_sibling_is_converted_and_the_signed_octets_stay():
    region = mail(
        "--s", "Content-Type: text/plain", EIGHT, "", "signed  ", "--s", "Content-Type: a/b", "", "sig", "--s--"
    )
    message = (
        mail(MIME, MIXED, EIGHT, "", "--b", "Content-Type: multipart/signed; boundary=s", EIGHT, "")
        + region
        + mail("--b", UTF8, EIGHT, "", "ü", "--b--")
    )
    sent = converted(message).octets
    assert region in sent
    assert b"\r\n=C3=BC\r\n" in sent
    assert sent.count(b": 7bit\r\n") == 2


@pytest.mark.rfc(1847, "2.2")
def test_case_28_encrypted_parts_are_refused_or_untouched():
    encrypted = SIGNED.replace(b"multipart/signed", b"multipart/encrypted")
    assert refused(encrypted).reply.enhanced == "5.6.2"
    smime = mail(
        MIME, MIXED, "", "--b", "Content-Type: application/pkcs7-mime; smime-type=enveloped-data",
        "Content-Transfer-Encoding: base64", "", "MIAGCSqGSIb3DQEHA6CAMIACAQAx", "--b", UTF8, "", "ü", "--b--",
    )  # fmt: skip
    region = smime[smime.index(b"Content-Type: application") : smime.rindex(b"--b\r\n")]
    assert region in converted(smime).octets


@pytest.mark.rfc(2046, "5.2.2")
@pytest.mark.parametrize("kind", ["message/partial; id=x; number=1", "message/external-body; access-type=local-file"])
def test_case_29_partial_messages_and_external_bodies_cannot_be_converted(kind):
    assert refused(mail(MIME, f"Content-Type: {kind}", "", "Subject: x", "", "ü")).reply.enhanced == "5.6.3"


@pytest.mark.rfc(6532, "3.7")
def test_case_30_an_internationalized_message_is_encoded_as_a_whole():
    inner = mail("From: Jörg <jörg@bücher.example>", "Subject: Grüße", "", "Grüße aus Köln und von anderswo")
    message = mail(MIME, MIXED, "", "--b", "Content-Type: message/global", EIGHT, "") + inner + mail("--b--")
    sent = converted(message, S7).octets
    assert b"Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n" in sent
    assert b"\r\nFrom: J=C3=B6rg <j=C3=B6rg@b=C3=BCcher.example>\r\n" in sent
    assert accepted(message, SU).body == "8BITMIME"
