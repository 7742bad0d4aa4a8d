"""A scripted delay at the next server, on one manual clock with the relay: neither waits for the other."""

from mailsandbox.faults import Delay, Fault


async def test_delay_at_the_listener_passes_with_the_clock_while_the_relay_waits_for_its_answer(make_rig, listen):
    rig = await make_rig()
    beta = await listen(clock=rig.clock)
    beta.service._context.faults.add(Fault(Delay(3600.0), protocol="smtp", stage="rcpt", times=1))
    rig.route("beta.test", beta)
    queue_id = await rig.enqueue("b@beta.test")
    while not any("RCPT" in line.text for session in rig.sessions for line in session.transcript):
        await rig.clock.advance(0)
    await rig.clock.advance(3600)
    [attempt] = rig.attempts(queue_id)
    assert attempt.outcomes[0].outcome == "relayed"
    assert attempt.ended_at - attempt.started_at == 3600
