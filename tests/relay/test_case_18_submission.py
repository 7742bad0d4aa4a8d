"""Case 18: submission against relay."""

import aiosmtplib
import pytest

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


@pytest.mark.rfc(6409, "8")
async def test_587_completes_the_message_and_25_leaves_it_alone(listen):
    for kind, added in ((Kind.SUBMISSION, True), (Kind.SMTP, False)):
        service = await listen(kind=kind)
        smtp = await client(service.port)
        await smtp.sendmail("a@alpha.test", ["b@beta.test"], BARE)
        await smtp.quit()
        [incoming] = service.accepted
        assert (b"\r\nDate: " in b"\r\n" + incoming.trace + incoming.octets) is added
        assert (b"\r\nMessage-ID: " in b"\r\n" + incoming.trace + incoming.octets) is added
        assert incoming.octets.endswith(BARE) or incoming.octets.endswith(b"\r\n\r\nHello\r\n")
