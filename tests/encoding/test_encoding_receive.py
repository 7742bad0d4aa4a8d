"""The receive gate, row by row of its table; modes, declarations, limits, sender lint."""

import pytest
from encoding_gates import ALL, EIGHT, MIME, S8, SU, UTF8, mail, received, rules

from mailsandbox.encoding import Accept, Refuse
from mailsandbox.smtp.extensions import Offers

TEXT = mail("From: a@alpha.test", MIME, UTF8, EIGHT, "", "Grüße")


def reply(verdict) -> str:
    assert isinstance(verdict, Refuse)
    return str(verdict.reply)


@pytest.mark.rfc(6152, "3")
def test_declared_and_offered_eight_bit_is_accepted_without_finding():
    verdict = received(TEXT, body="8BITMIME")
    assert isinstance(verdict, Accept)
    assert verdict.octets is TEXT
    assert verdict.findings == ()


@pytest.mark.rfc(6152, "3")
@pytest.mark.parametrize("body", ["", "7BIT"])
def test_undeclared_eight_bit_names_rule_source_octet_and_part(body):
    message = mail(MIME, "Content-Type: multipart/mixed; boundary=b", "", "--b") + TEXT + b"\r\n--b--\r\n"
    at = message.index("ü".encode())
    text = reply(received(message, body=body))
    assert (
        text == f"554 5.6.1 8-bit content without BODY=8BITMIME [undeclared-8bit, RFC 6152 §3] at octet {at} in part 1"
    )


@pytest.mark.rfc(6152, "3")
def test_eight_bit_that_was_declared_but_never_offered_is_undeclared():
    assert reply(received(TEXT, body="8BITMIME", offers=Offers())).startswith("554 5.6.1")


@pytest.mark.rfc(6531, "3.1")
def test_a_utf8_header_needs_smtputf8():
    message = mail("Subject: Grüße", "", "text")
    assert reply(received(message, body="8BITMIME")).startswith("554 5.6.9 UTF-8 in message header without SMTPUTF8")
    assert received(message, smtputf8=True).findings == ()
    assert reply(received(message, smtputf8=True, offers=S8)).startswith("554 5.6.9")
    assert rules(received(message, "lenient")) == ["utf8-header"]


@pytest.mark.rfc(5322, "2.2")
def test_latin1_in_a_header_is_refused_with_smtputf8_too():
    message = mail(b"Subject: Gr\xfc\xdfe", "", "text")
    for smtputf8 in (True, False):
        text = reply(received(message, smtputf8=smtputf8, offers=SU))
        assert text.startswith("554 5.6.0 improper use of 8-bit data in message header")


@pytest.mark.rfc(6532, "3")
def test_headers_of_parts_and_embedded_messages_are_headers():
    message = mail(
        MIME, "Content-Type: multipart/mixed; boundary=b", "", "--b", 'Content-Disposition: inline; filename="ü"', "",
        "--b", "Content-Type: message/rfc822", "", "Subject: ü", "", "--b--",
    )  # fmt: skip
    verdict = received(message, "lenient", body="8BITMIME")
    assert [(finding.rule, finding.part) for finding in verdict.findings] == [
        ("utf8-header", "1"),
        ("utf8-header", "2"),
    ]


@pytest.mark.rfc(3030, "3")
def test_binary_content_is_legal_only_declared_offered_and_by_bdat():
    message = mail(MIME, "Content-Type: a/b", "Content-Transfer-Encoding: binary", "") + b"\0\n\r\xff" + b"x" * 1500
    assert received(message, body="BINARYMIME", via_bdat=True).findings == ()
    assert isinstance(received(message, body="BINARYMIME", via_bdat=True, offers=S8), Refuse)
    assert isinstance(received(message, body="BINARYMIME"), Refuse)
    assert isinstance(received(message, body="8BITMIME", via_bdat=True), Refuse)


@pytest.mark.rfc(3030, "3")
def test_a_binary_message_has_a_header_of_lines_all_the_same():
    assert reply(received(b"Subject: x\nTo: y\r\n\r\n\0", body="BINARYMIME", via_bdat=True)).startswith("550 5.5.2")


@pytest.mark.rfc(5321, "4.5.3.1.6")
@pytest.mark.parametrize(("length", "refused"), [(998, False), (999, True)])
def test_a_line_holds_998_octets_without_its_crlf(length, refused):
    for message in (mail("Subject: x", "", "x" * length, "y"), mail("Subject: " + "x" * (length - 9), "", "y")):
        assert isinstance(received(message), Refuse) is refused


@pytest.mark.parametrize("mode", ["strict", "lenient", "normalize"])
def test_limits_of_structure_are_refused_in_every_mode(mode):
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(120))
    assert "nested deeper than 100" in reply(received(nested, mode))
    assert "header larger than 102400" in reply(received(b"X-Filler: 0123456789\r\n" * 6000 + b"\r\n", mode))
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 10_001
    assert "more than 10000 parts" in reply(received(many, mode))


def one_field(size):
    return b"Subject: " + b"x" * (size - 11) + b"\r\n"


def one_folded_field(size):
    lines, rest = divmod(size - 12, 78)
    return b"Subject: x\r\n" + (b" " + b"x" * 75 + b"\r\n") * (lines - 1) + b" " + b"x" * (75 + rest) + b"\r\n"


def many_fields(size):
    count, rest = divmod(size, 10)
    return b"X: 12345\r\n" * (count - 1) + b"X: 12345" + b"y" * rest + b"\r\n"


@pytest.mark.rfc(5322, "2.2")
@pytest.mark.parametrize("mode", ["strict", "lenient", "normalize"])
@pytest.mark.parametrize("end", [b"\r\nbody\r\n", b""], ids=["blank line", "end of message"])
@pytest.mark.parametrize("header", [one_folded_field, many_fields])
def test_a_header_holds_102400_octets_however_they_are_divided(mode, end, header):
    assert len(header(102_400)) == 102_400
    assert isinstance(received(header(102_400) + end, mode), Accept)
    for size in (102_401, 3_000_000):
        said = reply(received(header(size) + end, mode))
        assert said.startswith("554 5.6.0")
        assert "header larger than 102400" in said


@pytest.mark.rfc(5322, "2.2")
@pytest.mark.parametrize("mode", ["strict", "lenient", "normalize"])
@pytest.mark.parametrize("end", [b"\r\nbody\r\n", b"", None], ids=["blank line", "end of message", "no line end"])
def test_a_header_of_one_line_is_limited_too(mode, end):
    def message(size):
        return one_field(size) + end if end is not None else one_field(size + 2)[:-2]

    assert "header-limit" not in rules(received(message(102_400), mode))  # strict has its own reason: the line
    for size in (102_401, 3_000_000):
        assert "header larger than 102400" in reply(received(message(size), mode))


@pytest.mark.rfc(5322, "2.2")
def test_the_header_of_a_body_part_is_limited_too():
    top = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    assert isinstance(received(top + many_fields(102_400) + b"\r\nx\r\n--b--\r\n", "lenient"), Accept)
    assert "header larger than 102400" in reply(received(top + many_fields(102_401) + b"\r\nx\r\n--b--\r\n", "lenient"))


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ([UTF8, "", "x"], "missing-mime-version"),
        ([MIME, "Content-Type: x", "", "x"], "malformed-content-type"),
        ([MIME, UTF8, UTF8, "", "x"], "duplicate-field"),
        ([MIME, UTF8, "", "ü"], "mislabelled-8bit"),
        ([MIME, "Content-Type: text/plain", EIGHT, "", "ü"], "8bit-without-charset"),
        ([MIME, "Content-Type: text/plain; charset=us-ascii", EIGHT, "", "ü"], "8bit-in-us-ascii"),
        ([MIME, UTF8, EIGHT, "", b"\xfc"], "invalid-utf8"),
        ([MIME, UTF8, "Content-Transfer-Encoding: binary", "", "x"], "binary-label"),
        ([MIME, UTF8, "Content-Transfer-Encoding: x-own", "", "x"], "unknown-encoding"),
        ([MIME, UTF8, "Content-Transfer-Encoding: base64", "", "ü"], "8bit-in-encoded"),
        ([MIME, "Content-Type: multipart/mixed", "", "x"], "no-boundary"),
        ([MIME, "Content-Type: multipart/mixed; boundary=b", "", "x"], "no-delimiter"),
        ([MIME, "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "x"], "missing-close-delimiter"),
        (
            [MIME, "Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "", "U3ViamVjdDogeA=="],
            "encoded-composite",
        ),
        (["no field", "Subject: x", "", "x"], "malformed-header"),
    ],
)
def test_sender_lint_names_what_the_client_did_wrong(lines, rule):
    verdict = received(mail(*lines), "lenient", body="8BITMIME")
    assert isinstance(verdict, Accept)
    assert rule in rules(verdict)
    assert all(finding.source.startswith("RFC ") for finding in verdict.findings)


@pytest.mark.parametrize(
    "message",
    [
        mail("From: a@b.test", "Subject: x", "", "text", ".", "..", ""),
        mail("", "no header at all"),
        b"",
        mail(MIME, "Content-Type: multipart/mixed; boundary=b", "", "preamble", "--b", "", "x", "--b--", "epilogue"),
        mail("Subject: =?utf-8?q?=C3=BC?=", MIME, UTF8, "Content-Transfer-Encoding: quoted-printable", "", "=C3=BC"),
        mail("Subject: x", "Subject : y", "", "two subjects are not our business"),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "lenient", "normalize"])
def test_what_keeps_the_rules_has_no_finding_in_any_mode(message, mode):
    verdict = received(message, mode)
    assert isinstance(verdict, Accept)
    assert verdict.findings == ()
    assert verdict.octets is message


def test_findings_of_a_hopeless_message_are_bounded():
    parts = b"".join(b"--b\r\nContent-Type: nonsense\r\n\r\n\xfc\r\n" for _ in range(3000))
    message = mail(MIME, "Content-Type: multipart/mixed; boundary=b", "") + parts + b"--b--\r\n"
    verdict = received(message, "lenient", offers=ALL)
    assert len(verdict.findings) == 201
    assert verdict.findings[-1].rule == "more-findings"


def test_many_bare_lfs_are_one_edit():
    verdict = received(b"Subject: x\r\n\r\n" + b"a\n" * 5000, "normalize")
    assert verdict.octets == b"Subject: x\r\n\r\n" + b"a\r\n" * 5000
    assert len(verdict.edits) == 1
