"""Cases 35-40 of the encoding specification, at the gates: line ends, header text, addresses, signatures."""

import re

import pytest
from encoding_gates import EIGHT, MIME, S7, S8, SU, UTF8, accepted, converted, mail, received, refused, relay, rules

from mailsandbox.encoding import Accept, Convert, Refuse
from mailsandbox.message.words import ENCODED_WORD, decode_header_text


@pytest.mark.rfc(5321, "2.3.8")
@pytest.mark.parametrize(
    ("octets", "reply", "rule"),
    [
        (b"a\nb\r\n", "550 5.5.2 bare <LF> received", "bare-lf"),
        (b"a\rb\r\n", "550 5.5.2 bare <CR> received", "bare-cr"),
        (b"a\0b\r\n", "554 5.6.0 NUL octet in message", "nul"),
    ],
)
def test_case_35_bare_line_ends_and_nul_are_refused_each_in_its_words(octets, reply, rule):
    message = mail("Subject: x", "") + octets
    strict = received(message)
    assert isinstance(strict, Refuse)
    assert str(strict.reply).startswith(reply)
    assert f"at octet {len(message) - len(octets) + 1}" in strict.reply.text
    assert rules(received(message, "lenient")) == [rule]
    assert rules(received(message, "normalize")) == [rule]


@pytest.mark.rfc(5321, "2.3.8")
def test_case_35_normalize_turns_bare_lf_into_crlf_and_nothing_else():
    message = b"Subject: x\n\none\rtwo\0\n.\nthree\r\n.\n"
    verdict = received(message, "normalize")
    assert isinstance(verdict, Convert)
    assert verdict.octets == b"Subject: x\r\n\r\none\rtwo\0\r\n.\r\nthree\r\n.\r\n"
    assert [edit.after for edit in verdict.edits] == [b"\r\n"] * 5


@pytest.mark.rfc(3030, "2")
def test_case_35_what_came_by_bdat_is_never_normalized():
    assert isinstance(received(b"Subject: x\n\ny\n", "normalize", via_bdat=True), Accept)


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n"])
def test_case_36_what_looks_like_an_end_of_data_is_content_that_strict_refuses(ending):
    message = mail("Subject: x", "") + b"a" + ending + b"MAIL FROM:<evil@x.test>\r\n"
    assert isinstance(received(message), Refuse)


def header(*lines: str | bytes) -> bytes:
    return mail(*lines, MIME, "Content-Type: text/plain", "", "text")


@pytest.mark.rfc(2047, "5")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Subject: Grüße", b"Subject: =?utf-8?b?R3LDvMOfZQ==?="),
        (b"From: J\xf6rg Mayer <a@b.test>", b"From: =?unknown-8bit?q?J=F6rg?= Mayer <a@b.test>"),
        (b'From: "Mayer, J\xf6rg" <a@b.test>', b"From: =?unknown-8bit?q?Mayer=2C_J=F6rg?= <a@b.test>"),
        ("From: a@b.test (Jörg (Sen.))", b"From: a@b.test (=?utf-8?b?SsO2cmc=?= (Sen.))"),
        (b"Subject: =?iso-8859-1?Q?Fr\xf6?= und", b"Subject: =?iso-8859-1?Q?Fr=F6?= und"),
        ("Subject: ü =?utf-8?q?x?= y", b"Subject: =?utf-8?b?w7wg?= =?utf-8?q?x?= y"),
        (
            "Date: Sat, 21 Nov 2026 (Westeuropäische Zeit)",
            b"Date: Sat, 21 Nov 2026 (=?utf-8?q?Westeurop=C3=A4ische?= Zeit)",
        ),
        ("From: j@ü.test <j@b.test>", b"From: =?utf-8?b?akDDvC50ZXN0?= <j@b.test>"),
        ("To: Köln: a@b.test, ü <c@d.test>;", b"To: =?utf-8?b?S8O2bG4=?= : a@b.test, =?utf-8?b?w7w=?= <c@d.test>;"),
    ],
)
def test_case_37_header_text_becomes_encoded_words_and_its_neighbours_stay(before, after):
    assert converted(header(before)).octets == header(after)


@pytest.mark.rfc(2231, "4")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('attachment; filename="Grüße.txt"; size=3', b"attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.txt; size=3"),
        (b"attachment; filename=Fr\xf6.txt", b"attachment; filename*=unknown-8bit''Fr%F6.txt"),
        (
            "attachment; filename=\"ü.txt\"; filename*=utf-8''%C3%BC.txt",
            b"attachment; filename=\"??.txt\"; filename*=utf-8''%C3%BC.txt",
        ),
        (b'inline; filename="=?iso-8859-1?Q?Fr\xf6?="', b'inline; filename="=?iso-8859-1?Q?Fr=F6?="'),
    ],
)
def test_case_37_parameters_take_the_extended_form(before, after):
    before = before.encode() if isinstance(before, str) else before
    expected = header(b"Content-Disposition: " + after)
    assert relay(header(b"Content-Disposition: " + before)).octets == expected


@pytest.mark.rfc(2231, "3")
def test_case_37_a_long_parameter_is_continued():
    sent = converted(header(f'Content-Disposition: attachment; filename="{"ü" * 60}.txt"')).octets
    assert b"filename*0*=utf-8''%C3%BC" in sent
    assert b";\r\n\tfilename*1*=%" in sent


@pytest.mark.rfc(2047, "2")
def test_case_38_long_fields_keep_to_the_limits_and_characters_stay_whole():
    subject = "".join(chr(0x4E00 + n) for n in range(300))
    people = ", ".join(f"Person {n} <p{n}@example.test>" for n in range(2300))
    assert len(people) > 70_000
    sent = converted(header(f"Subject: {subject}", f"To: Jörg <j@b.test>, {people}")).octets
    words = [word[0] for word in ENCODED_WORD.finditer(sent)]
    assert max(len(word) for word in words) <= 75
    assert all("\ufffd" not in decode_header_text(word) for word in words)
    assert max(len(line) for line in sent.split(b"\r\n") if b"=?" in line) <= 76


@pytest.mark.rfc(5322, "2.1.1")
def test_a_header_line_that_cannot_be_folded_is_refused():
    assert refused(header("X-Long: " + "x" * 1200)).reply.enhanced == "5.6.0"
    assert refused(header("X-Long: " + "x" * 1200), SU).reply.enhanced == "5.6.0"


ADDRESSED = mail("From: Jörg <jörg@bücher.example>", MIME, UTF8, EIGHT, "", "text")


@pytest.mark.rfc(6531, "3.2")
def test_case_39_a_utf8_address_passes_with_smtputf8_or_not_at_all():
    verdict = accepted(ADDRESSED, SU, smtputf8=True)
    assert verdict.smtputf8
    assert verdict.body == "8BITMIME"
    assert str(refused(ADDRESSED, S7, smtputf8=True).reply).startswith("553 5.6.7 ")
    assert str(refused(ADDRESSED, S8, smtputf8=True).reply).startswith("553 5.6.7 ")
    plain = mail("From: a@b.test", "", "text")
    assert str(refused(plain, sender="jörg@b.test", smtputf8=True).reply).startswith("553 5.6.7 ")
    assert accepted(plain, SU, sender="jörg@b.test", smtputf8=True).smtputf8


@pytest.mark.rfc(5891, "4")
def test_case_39_a_domain_alone_becomes_its_a_label():
    message = mail("From: Joe <joe@bücher.example>", "", "text")
    sent = converted(message, smtputf8=True, sender="joe@bücher.example", recipients=("x@köln.example",))
    assert b"From: Joe <joe@xn--bcher-kva.example>\r\n" in sent.octets
    assert sent.addresses == {
        "joe@bücher.example": "joe@xn--bcher-kva.example",
        "x@köln.example": "x@xn--kln-sna.example",
    }
    assert not sent.smtputf8


@pytest.mark.rfc(6531, "3.2")
def test_a_utf8_subject_that_was_declared_may_not_be_downgraded_by_a_relay():
    message = mail("Subject: Grüße", "From: a@b.test", "", "text")
    assert refused(message, S8, smtputf8=True).reply.enhanced == "5.6.9"
    assert b"=?utf-8?" in converted(message, S8, smtputf8=True, downgrade_utf8=True).octets
    assert b"=?utf-8?" in converted(message, S8).octets
    assert not accepted(mail("Subject: x", "", "text"), S7, smtputf8=True).smtputf8


@pytest.mark.rfc(6531, "3.2")
def test_one_recipient_without_ascii_form_does_not_hold_up_the_others():
    verdict = accepted(mail("Subject: x", "", "text"), recipients=("jörg@b.test", "c@d.test"))
    assert list(verdict.refused) == ["jörg@b.test"]
    assert verdict.refused["jörg@b.test"].enhanced == "5.6.7"


@pytest.mark.rfc(2047, "5")
@pytest.mark.parametrize(
    "field", ["Received: from ü (ü)", "Message-ID: <ü@x>", "References: <ü@x>", "List-Post: <mailto:ü>"]
)
def test_fields_that_nothing_can_encode_are_refused_or_repaired_with_loss(field):
    assert refused(header(field)).reply.enhanced == "5.6.0"
    verdict = relay(header(field), repair=True)
    assert isinstance(verdict, Convert)
    assert b"??" in verdict.octets
    assert "conversion-with-loss" in rules(verdict)


@pytest.mark.rfc(1870, "6")
def test_growth_is_checked_against_the_hops_size():
    message = mail(MIME, UTF8, EIGHT, "") + "ü".encode() * 450 + b"\r\n"
    small = type(S7).parse(["SIZE 1000"])
    reply = refused(message * 1, small).reply
    assert (reply.code, reply.enhanced) == (552, "5.3.4")
    assert converted(message, type(S7).parse(["SIZE 2000"]))


@pytest.mark.rfc(2046, "5.1.1")
def test_text_outside_the_parts_is_replaced_with_a_finding():
    message = mail(
        "Content-Type: multipart/mixed; boundary=b", "", "preamble ü", "--b", "", "text", "--b--", "epilogue ü"
    )
    verdict = relay(message)
    assert isinstance(verdict, Convert)
    assert verdict.octets == re.sub(rb"[\x80-\xff]", b"?", message)
    assert [finding.enhanced for finding in verdict.findings if finding.rule == "conversion-with-loss"] == ["2.6.4"] * 2
