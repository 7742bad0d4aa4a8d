"""What postfix, sendmail and exim do to the same messages, each by its documented behaviour."""

import pytest
from encoding_gates import EIGHT, MIME, S7, S8, UTF8, mail, refused, relay, rules, untouched

from mailsandbox.encoding import Accept, Convert, Emulation
from mailsandbox.smtp.extensions import Offers

LABELLED = mail("Subject: x", MIME, UTF8, EIGHT, "X-Last: y", "", "Grüße  ", "=.")
UNLABELLED = mail("Subject: x", MIME, UTF8, "", "Grüße")
SIGNED = mail(MIME, "Content-Type: multipart/signed; boundary=s", EIGHT, "", "--s", UTF8, EIGHT, "", "signed ü") + mail(
    "--s", "Content-Type: application/pgp-signature", "", "-----BEGIN", "--s--"
)


def converted(octets: bytes, who: str, offers: Offers = S7, **more: object) -> Convert:
    verdict = relay(octets, offers, emulate=Emulation(who), **more)
    assert isinstance(verdict, Convert), verdict
    untouched(octets, verdict)
    return verdict


def passed(octets: bytes, who: str, offers: Offers = S7, **more: object) -> Accept:
    verdict = relay(octets, offers, emulate=Emulation(who), **more)
    assert isinstance(verdict, Accept), verdict
    assert verdict.octets == octets
    return verdict


@pytest.mark.parametrize("who", ["postfix", "sendmail", "exim"])
def test_clean_mail_passes_everyone(who):
    assert passed(mail("Subject: x", "", "text"), who).findings == ()
    assert passed(mail("Subject: x", "", "text"), who, S8).findings == ()


def test_postfix_converts_by_label_and_moves_the_label_to_the_end_of_the_header():
    assert converted(LABELLED, "postfix").octets == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX-Last: y\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe =20\r\n=3D.\r\n"
    )


@pytest.mark.rfc(6152, "3")
def test_postfix_sends_eight_bit_raw_when_no_label_says_so():
    verdict = passed(UNLABELLED, "postfix")
    assert rules(verdict) == ["sent-8bit"]
    assert verdict.body == ""


def test_postfix_believes_the_clients_declaration_but_converts_labelled_entities_only():
    assert rules(passed(UNLABELLED, "postfix", body="8BITMIME")) == ["sent-8bit"]
    assert passed(UNLABELLED, "postfix", S8, body="8BITMIME").body == "8BITMIME"
    assert passed(LABELLED, "postfix", S8).body == "8BITMIME"


@pytest.mark.rfc(1847, "2.1")
def test_postfix_rewrites_inside_signed_parts():
    verdict = converted(SIGNED, "postfix")
    assert b"signed =C3=BC" in verdict.octets
    assert "signed-part-changed" in rules(verdict)


def test_postfix_always_chooses_quoted_printable_and_breaks_after_73_octets():
    sent = converted(mail(MIME, "Content-Type: image/png", EIGHT, "") + b"\xff" * 30 + b"a" * 80, "postfix").octets
    lines = sent.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert b"base64" not in sent
    assert lines[0] == b"=FF" * 25 + b"="
    assert lines[1] == b"=FF" * 5 + b"a" * 58 + b"="


def test_postfix_relabels_containers_and_leaves_header_text_alone():
    message = mail("Subject: ü", "Content-Type: multipart/mixed; boundary=b", EIGHT, "", "pre ü", "--b") + mail(
        UTF8, EIGHT, "", "ü", "--b", "Content-Type: message/rfc822", EIGHT, "", "Subject: ü", "", "raw ü", "--b--"
    )
    sent = converted(message, "postfix").octets
    assert sent.count(b"Content-Transfer-Encoding: 7bit\r\n") == 2
    assert sent.count(b"Content-Transfer-Encoding: quoted-printable\r\n") == 1
    assert "Subject: ü".encode() in sent
    assert "pre ü".encode() in sent
    assert "raw ü".encode() in sent


@pytest.mark.rfc(2046, "5.2.2")
def test_postfix_damages_a_labelled_partial_message():
    sent = converted(
        mail(MIME, "Content-Type: message/partial; id=x", EIGHT, "", "Subject: x", "", "ü"), "postfix"
    ).octets
    assert b"Content-Transfer-Encoding: 7bit\r\n" in sent
    assert b"=C3=BC" in sent


def test_postfix_splits_long_lines_with_a_blank():
    sent = converted(mail("Subject: x", "", "x" * 2100, "y"), "postfix").octets
    assert sent == mail("Subject: x", "", "x" * 998, " " + "x" * 997, " " + "x" * 105, "y")


@pytest.mark.rfc(6531, "3.5")
@pytest.mark.parametrize("who", ["postfix", "sendmail", "exim"])
def test_what_requires_smtputf8_is_returned(who):
    message = mail("Subject: ü", "", "text")
    assert refused(message, S7, emulate=Emulation(who), smtputf8=True).reply.enhanced == "5.6.7"


def test_sendmail_converts_text_to_quoted_printable_and_moves_the_label():
    message = LABELLED + mail("and then so much more ASCII text that quoted-printable is chosen", ".")
    assert converted(message, "sendmail").octets == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX-Last: y\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"X-MIME-Autoconverted: from 8bit to quoted-printable by relay.test id Q1\r\n"
        b"\r\nGr=C3=BC=C3=9Fe =20\r\n=3D.\r\n"
        b"and then so much more ASCII text that quoted-printable is chosen\r\n=2E\r\n"
    )


def test_sendmail_chooses_base64_above_an_eighth_of_high_bits():
    below, above = "x" * 14 + "ü", "x" * 12 + "ü"
    assert b"to quoted-printable" in converted(mail(MIME, UTF8, EIGHT, "", below), "sendmail").octets
    sent = converted(mail(MIME, UTF8, EIGHT, "", above), "sendmail").octets
    assert b"X-MIME-Autoconverted: from 8bit to base64 by relay.test id Q1\r\n\r\neHh4" in sent


def test_sendmail_passes_mail_without_mime_version_raw():
    assert rules(passed(mail("Subject: x", "", "ü"), "sendmail")) == ["sent-8bit"]


@pytest.mark.rfc(1847, "2.1")
def test_sendmail_leaves_multipart_signed_alone_and_sends_it_raw():
    verdict = relay(SIGNED, S7, emulate=Emulation.SENDMAIL)
    assert "sent-8bit" in rules(verdict)
    assert "signed-part-changed" not in rules(verdict)
    assert "signed ü".encode() in verdict.octets


def test_sendmail_takes_the_label_from_containers_and_the_eighth_bit_from_the_preamble():
    message = mail(
        MIME, "Content-Type: multipart/mixed; boundary=b", EIGHT, "", "pre é", "--b", UTF8, EIGHT, "", "ü"
    ) + mail("--b", "Content-Type: message/rfc822", EIGHT, "", "Subject: x", "", "plain", "--b--")
    sent = converted(message, "sendmail").octets
    assert b"pre C)\r\n" in sent
    assert b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" in sent
    assert b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\nMIME-Version: 1.0\r\n\r\nplain" in sent


def test_exim_passes_everything_but_overlong_lines():
    for message in (LABELLED, UNLABELLED, SIGNED, mail("Subject: ü", "", "x")):
        assert rules(passed(message, "exim")) == ["sent-8bit"]
        assert passed(message, "exim", S8).findings == ()
    verdict = refused(mail("Subject: x", "", "x" * 999), emulate=Emulation.EXIM)
    assert "message has lines too long for transport" in verdict.reply.text


@pytest.mark.rfc(1870, "6")
@pytest.mark.parametrize("who", ["postfix", "sendmail", "exim"])
def test_the_hops_size_binds_everyone(who):
    verdict = refused(mail("Subject: x", "", "text" * 100), Offers.parse(["SIZE 100"]), emulate=Emulation(who))
    assert verdict.reply.code == 552
