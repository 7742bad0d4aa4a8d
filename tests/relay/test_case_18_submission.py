"""Case 18: submission against relay."""

import asyncio
import ssl

import aiosmtplib
import pytest

from mailsandbox.runtime.certificates import local_identity
from mailsandbox.store.credentials import AccountSpec, Credentials
from mailsandbox.submit.model import Authentication, Kind

BARE = b"From: a@alpha.test\r\nSubject: bare\r\n\r\nHello\r\n"


async def client(port: int) -> aiosmtplib.SMTP:
    smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="c.test")
    await smtp.connect()
    await smtp.ehlo()
    return smtp


@pytest.mark.rfc(6409, "4.3")
async def test_587_refuses_mail_without_auth_and_a_sender_that_is_not_the_logins_own(listen):
    submission = await listen(
        kind=Kind.SUBMISSION,
        authentication=Authentication.REQUIRED,
        credentials=Credentials(specs={"a@alpha.test": AccountSpec(password="secret")}),
    )
    smtp = await client(submission.port)
    answer = await smtp.execute_command(b"MAIL FROM:<a@alpha.test>")
    assert (answer.code, answer.message[:5]) == (530, "5.7.0")
    await smtp.login("a@alpha.test", "secret")
    answer = await smtp.execute_command(b"MAIL FROM:<other@alpha.test>")
    assert (answer.code, answer.message[:5]) == (553, "5.7.1")
    await smtp.quit()


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return local_identity(tmp_path_factory.mktemp("tls"), ["mx.beta.test"])


async def say(streams, *lines: bytes) -> bytes:
    """Send lines one after the other; the last line of the last answer."""
    reader, writer = streams
    for line in lines:
        writer.write(line)
        while (answer := await reader.readline())[3:4] == b"-":
            pass
    return answer


async def send(service, octets: bytes) -> bytes:
    """One message, with not an octet more or less than is given here; the answer to it."""
    spec = service.service.spec
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    tls = verify if spec.kind is Kind.SUBMISSIONS else None
    async with asyncio.timeout(10):
        streams = await asyncio.open_connection("127.0.0.1", service.port, ssl=tls)
        hello = b"LHLO" if spec.kind is Kind.LMTP else b"EHLO"
        await say(streams, b"", hello + b" c.test\r\n", b"MAIL FROM:<a@alpha.test>\r\n", b"RCPT TO:<b@beta.test>\r\n")
        assert (await say(streams, b"DATA\r\n"))[:4] == b"354 "
        answer = await say(streams, octets + b".\r\n")
        streams[1].close()
    return answer


RECEIVED = """\
Received: from c.test ([127.0.0.1]){tls}
\tby mx.alpha.test with {word} id B1
\tfor <b@beta.test>; {date}
""".replace("\n", "\r\n")
DATE = "Mon, 21 Sep 2026 14:13:20 +0000"
COMPLETED = f"Date: {DATE}\r\nMessage-ID: <B1@mx.alpha.test>\r\n"
AUTHOR = "From: <a@alpha.test>\r\n"
WORDS = {Kind.SMTP: "ESMTP", Kind.SUBMISSION: "ESMTP", Kind.SUBMISSIONS: "ESMTPS", Kind.LMTP: "LMTP"}
WHOLE = b"Date: Mon, 21 Sep 2026 00:00:00 +0000\r\nFrom: a@alpha.test\r\nMessage-ID: <1@alpha.test>\r\n"
BLIND = WHOLE + b"bcc: c@beta.test,\r\n d@beta.test\r\nX: Bcc: no\r\n\r\nBcc: body\r\n"

# name: what is sent, and what a submission server adds before and makes of it (RFC 6409 §8)
SENT = {
    "bare": (BARE, COMPLETED, BARE),
    "whole": (WHOLE + b"\r\nHello\r\n", "", WHOLE + b"\r\nHello\r\n"),
    "bcc": (BLIND, "", BLIND.replace(b"bcc: c@beta.test,\r\n d@beta.test\r\n", b"")),
    "no header": (b"Hello\r\n", COMPLETED + AUTHOR + "\r\n", b"Hello\r\n"),
    "body only": (b"\r\nDate: none\r\n", COMPLETED + AUTHOR, b"\r\nDate: none\r\n"),
    "odd but right": (BARE + b"\r\n \t \r\n\x01\x7f\r\n", COMPLETED, BARE + b"\r\n \t \r\n\x01\x7f\r\n"),
}


@pytest.mark.rfc(6409, "8")
@pytest.mark.rfc(5321, "6.4")
@pytest.mark.parametrize("mode", ["strict", "lenient", "normalize"])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("name", SENT)
async def test_submission_completes_the_message_and_every_other_port_leaves_each_octet_alone(
    listen, identity, kind, mode, name
):
    octets, added, submitted = SENT[name]
    service = await listen(kind=kind, mode=mode, tls=identity.context)
    assert await send(service, octets) == b"250 2.0.0 Ok: queued as B1\r\n"
    [incoming] = service.accepted
    tls = f"\r\n\t(using {incoming.accepted.tls})" if kind is Kind.SUBMISSIONS else ""
    received = RECEIVED.format(word=WORDS[kind], tls=tls, date=DATE)
    if kind not in (Kind.SUBMISSION, Kind.SUBMISSIONS):
        added, submitted = "", octets
    assert incoming.trace.decode() == received + added
    assert incoming.octets == submitted


@pytest.mark.rfc(5321, "2.3.8")
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("mode", "becomes"),
    [("strict", None), ("lenient", b"\r\none\ntwo\rthree\r\n"), ("normalize", b"\r\none\r\ntwo\rthree\r\n")],
)
async def test_line_ends_that_are_none_are_refused_kept_or_mended_as_the_mode_says(
    listen, identity, kind, mode, becomes
):
    service = await listen(kind=kind, mode=mode, tls=identity.context)
    answer = await send(service, WHOLE + b"\r\none\ntwo\rthree\r\n")
    if becomes is None:
        assert (answer[:9], service.accepted) == (b"550 5.5.2", [])
    else:
        assert [incoming.octets for incoming in service.accepted] == [WHOLE + becomes]
