"""DKIM over a hop that converts (case 40), and what `check` says of it."""

import subprocess

import pytest
from encoding_gates import EIGHT, MIME, S7, S8, UTF8, converted, mail, relay

from mailsandbox.encoding import Accept
from mailsandbox.encoding.signatures import records, sign, verifier
from mailsandbox.message.spans import scan

MESSAGE = mail("From: a@alpha.test", "To: b@beta.test", "Subject: x", "Date: today", MIME, UTF8, EIGHT, "", "Grüße")


@pytest.mark.rfc(6376, "5.3")
def test_case_40_a_signature_survives_an_8bitmime_hop(dkim_key):
    signed = sign(MESSAGE, dkim_key[0]) + MESSAGE
    verdict = relay(signed, S8)
    assert isinstance(verdict, Accept)
    assert verifier(records(dkim_key[1]))(verdict.octets) == "pass"


@pytest.mark.rfc(6376, "5.3")
def test_case_40_a_conversion_breaks_it_and_says_so(dkim_key):
    signed = sign(MESSAGE, dkim_key[0]) + MESSAGE
    verdict = converted(signed, S7, verify=verifier(records(dkim_key[1])))
    texts = [finding.text for finding in verdict.findings if finding.rule == "signature-broken"]
    assert texts == ["dkim: pass before, fail after conversion"]


@pytest.mark.rfc(6376, "5.3")
def test_case_40_signing_after_the_conversion_verifies(dkim_key):
    verdict = relay(MESSAGE, S7, sign_after_convert=dkim_key[0])
    assert verdict.octets.startswith(b"DKIM-Signature:")
    assert b"Gr=C3=BC=C3=9Fe" in verdict.octets
    assert verifier(records(dkim_key[1]))(verdict.octets) == "pass"


@pytest.mark.rfc(6376, "6.1")
@pytest.mark.parametrize("field", [b"DKIM-Signature: nonsense\r\n", b"DKIM-Signature: v=1; a=x; b=; bh=\r\n", b""])
def test_a_malformed_signature_is_an_answer_and_no_error(field):
    assert verifier(records({}))(field + MESSAGE) == ("fail" if field else "none")


@pytest.mark.client("openssl")
@pytest.mark.rfc(1847, "2.1")
def test_case_27_a_signature_beside_a_converted_sibling_verifies(program, smime, tmp_path):
    certificate, signed = smime
    message = (
        mail(MIME, "Content-Type: multipart/mixed; boundary=b", EIGHT, "", "--b")
        + signed
        + mail("--b", UTF8, EIGHT, "", "ü", "--b--")
    )
    sent = converted(message).octets
    part = scan(sent).children[0]
    assert sent[part.start : part.end] == signed
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "part.eml").write_bytes(sent[part.start : part.end])
    command = [program("openssl"), "smime", "-verify", "-noverify", "-in", "part.eml", "-certfile", "certificate.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert b"successful" in done.stderr, done.stderr
