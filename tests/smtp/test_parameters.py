"""Parameters of MAIL, RCPT and BDAT as tables; their refusals over the wire are in tests/submit/transcripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.parameters import Chunk, MailParameters, parse_bdat, parse_mail, parse_rcpt, split_parameters
from mailsandbox.smtp.replies import Reply

EVERYTHING = Offers.parse(
    ["SIZE 1000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "AUTH PLAIN", "REQUIRETLS", "DELIVERBY 60"]
)


def mail(text: str, offered: Offers = EVERYTHING) -> MailParameters | Reply:
    return parse_mail(text, offered=offered, limit=1000)


def test_every_parameter_has_its_meaning_and_is_kept_as_written():
    read = mail("size=99 Body=8bitMime SMTPUTF8 ret=Full ENVID=a+2Bb REQUIRETLS BY=120;RT AUTH=<>")
    assert isinstance(read, MailParameters)
    assert (read.size, read.body, read.smtputf8, read.ret, read.envid) == (99, "8BITMIME", True, "FULL", "a+2Bb")
    assert (read.require_tls, read.deliver_by, read.auth) == (True, "120;RT", "<>")
    assert read.given["BODY"] == "8bitMime"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SIZE=1001", 552),
        ("SIZE", 501),
        ("SIZE=-1", 501),
        ("SIZE=\u0661", 501),
        ("SIZE=" + "1" * 21, 501),
        ("BODY=9BIT", 501),
        ("BODY", 501),
        ("SMTPUTF8=yes", 501),
        ("REQUIRETLS=yes", 501),
        ("RET=BODY", 501),
        ("RET", 501),
        ("ENVID", 501),
        ("ENVID=" + "x" * 101, 501),
        ("ENVID=a+2", 501),
        ("AUTH", 501),
        ("AUTH=a+b", 501),
        ("BY=1", 501),
        ("BY=0;R", 501),
        ("BY=1234567890;N", 501),
        ("BY=59;R", 555),
        ("X-UNKNOWN=1", 555),
        ("NOTIFY=NEVER", 555),
        ("SIZE=1 SIZE=2", 501),
        ("=1", 501),
        ("-X=1", 501),
        ("A==1", 501),
        ("A=\x01", 501),
        ("\u00e9=1", 501),
    ],
)
def test_what_mail_may_not_say_is_refused(text, code):
    read = mail(text)
    assert isinstance(read, Reply)
    assert read.code == code
    assert read.enhanced


@pytest.mark.rfc(5321, "4.1.1.11")
@pytest.mark.parametrize(
    "text", ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=1", "AUTH=<>", "REQUIRETLS", "BY=100;N"]
)
def test_what_is_not_offered_is_refused_as_unknown(text):
    read = mail(text, Offers())
    assert isinstance(read, Reply)
    assert (read.code, read.enhanced) == (555, "5.5.4")


@pytest.mark.rfc(3030, "3")
@pytest.mark.parametrize("offered", [["8BITMIME", "BINARYMIME"], ["8BITMIME", "CHUNKING"]])
def test_binarymime_needs_chunking_and_itself(offered):
    read = mail("BODY=BINARYMIME", Offers.parse(offered))
    assert isinstance(read, Reply)
    assert read.code == 555


@pytest.mark.rfc(3461, "4.1")
def test_notify_is_a_set_without_regard_to_case():
    read = parse_rcpt("NOTIFY=success,Delay ORCPT=rfc822;Bob+2Bx@beta.test", offered=EVERYTHING)
    assert not isinstance(read, Reply)
    assert read.notify == {"SUCCESS", "DELAY"}
    assert read.orcpt == "rfc822;Bob+2Bx@beta.test"


@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY=NEVER,FAILURE",
        "NOTIFY=,",
        "NOTIFY",
        "ORCPT",
        "ORCPT=bob",
        "ORCPT=;bob",
        "ORCPT=rfc822;bo b",
        "ORCPT=rfc822;" + "x" * 500,
        "ORCPT=utf-8;b\u00f8",
    ],
)
def test_what_rcpt_may_not_say_is_refused(text):
    read = parse_rcpt(text, offered=EVERYTHING)
    assert isinstance(read, Reply)
    assert read.code in (501, 555)


@pytest.mark.rfc(6533, "3")
def test_a_utf8_orcpt_passes_with_smtputf8():
    assert not isinstance(parse_rcpt("ORCPT=utf-8;b\u00f8@x", offered=EVERYTHING, smtputf8=True), Reply)
    assert not isinstance(parse_rcpt("ORCPT=utf-8;b\\x{F8}@x", offered=EVERYTHING), Reply)


@pytest.mark.rfc(3030, "2")
@pytest.mark.parametrize(
    ("argument", "chunk"),
    [
        (b"0", Chunk(0, last=False)),
        (b"86 LAST", Chunk(86, last=True)),
        (b"86  last ", Chunk(86, last=True)),
        (b"", None),
        (b"-1", None),
        (b"1 2", None),
        (b"1LAST", None),
        (b"LAST", None),
        (b"1" * 21, None),
    ],
)
def test_bdat_is_a_count_and_perhaps_last(argument, chunk):
    assert parse_bdat(argument) == chunk


@given(st.text(max_size=80))
def test_any_text_is_parameters_or_refused(text):
    for read in (mail(text), parse_rcpt(text, offered=EVERYTHING), split_parameters(text)):
        if isinstance(read, Reply):
            assert read.permanent
            read.encode().decode("ascii")
