"""Case 19: greylisting, seen from a relay that comes again by its schedule."""

import aiosmtplib
import pytest


@pytest.mark.rfc(6647, "2.4")
async def test_first_attempt_is_greylisted_and_the_retry_after_the_delay_is_accepted(make_rig, listen):
    rig = await make_rig()
    beta = await listen(clock=rig.clock, greylist=150.0)
    rig.route("beta.test", beta)
    queue_id = await rig.send("b@beta.test")
    await rig.clock.advance(600)
    assert [(one.outcomes[0].enhanced, one.outcomes[0].outcome) for one in rig.attempts(queue_id)] == [
        ("4.7.1", "deferred"),
        ("4.7.1", "deferred"),
        ("2.0.0", "relayed"),
    ]
    assert len(beta.accepted) == 1
    other = await rig.send("c@beta.test")
    assert rig.attempts(other)[0].outcomes[0].enhanced == "4.7.1"


async def test_xclient_address_from_a_trusted_host_changes_the_triplet(make_rig, listen):
    rig = await make_rig()
    beta = await listen(clock=rig.clock, greylist=60.0, xclient_peers=("127.0.0.0/8",))
    smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=beta.port, start_tls=False, local_hostname="c.test")
    await smtp.connect()

    async def recipient(address: bytes) -> int:
        await smtp.ehlo()
        assert (await smtp.execute_command(b"XCLIENT ADDR=" + address)).code == 220
        await smtp.ehlo()
        await smtp.execute_command(b"MAIL FROM:<a@alpha.test>")
        return (await smtp.execute_command(b"RCPT TO:<b@beta.test>")).code

    assert await recipient(b"192.0.2.1") == 451
    await rig.clock.advance(61)
    assert await recipient(b"192.0.2.1") == 250
    assert await recipient(b"198.51.100.1") == 451
    smtp.close()
