"""What the journey shows of a hop that was tried."""

import hashlib

from mailsandbox.encoding import prepare
from mailsandbox.message.envelope import Recipient

EIGHT_BIT = (
    "From: a@alpha.test\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nDéjà vu\r\n"
).encode()


async def test_record_has_envelope_octets_in_and_out_edits_and_the_conversation(make_rig, make_hop):
    hop = await make_hop(name="mx.beta.test", offers=("PIPELINING", "SIZE 100000", "DSN"))
    rig = await make_rig(prepare=prepare)
    rig.zone({"beta.test": {"MX": "10 mx.beta.test"}, "mx.beta.test": {"A": "127.0.0.1", "port": hop.port}})
    recipient = Recipient("b@beta.test", frozenset({"FAILURE"}))
    queue_id = await rig.send(recipient, octets=EIGHT_BIT, body="8BITMIME", ret="HDRS")
    [attempt] = rig.attempts(queue_id)
    sent = hop.messages[0].octets
    assert (attempt.host, attempt.address, attempt.number) == ("mx.beta.test", f"127.0.0.1:{hop.port}", 1)
    assert attempt.offers == ["PIPELINING", "SIZE 100000", "DSN"]
    assert attempt.envelope.mail_parameters == {"SIZE": str(len(sent)), "RET": "HDRS"}
    assert attempt.envelope.recipient_parameters == {"b@beta.test": {"NOTIFY": "FAILURE"}}
    assert (attempt.octets_in, attempt.sha256_in) == (len(EIGHT_BIT), hashlib.sha256(EIGHT_BIT).hexdigest())
    assert (attempt.octets_out, attempt.sha256_out) == (len(sent), hashlib.sha256(sent).hexdigest())
    assert sent.isascii()
    assert any("é" in edit.before and "=C3=A9" in edit.after for edit in attempt.edits), attempt.edits
    assert attempt.body == ""
    said = [(line.side, line.text) for line in attempt.transcript]
    assert said[0] == ("!", f"connecting to 127.0.0.1:{hop.port}")
    assert ("C", "EHLO mx.alpha.test") in said
    assert ("S", "250-mx.beta.test") in said
    assert ("C", f"[{len(sent)} octets of message data]") in said
    assert said[-1] == ("S", "250 2.0.0 queued")
    assert [line.at for line in attempt.transcript] == sorted(line.at for line in attempt.transcript)


async def test_message_that_the_gate_refuses_shows_findings_and_no_octets_out(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "SIZE 10"))
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert (attempt.octets_out, attempt.sha256_out) == (0, "")
    assert any(finding.fatal for finding in attempt.findings)
    assert any(line.text.startswith("not sent: 552 5.3.4") for line in attempt.transcript)
    assert not any(line.startswith("MAIL") for line in hop.lines)


async def test_unchanged_message_goes_out_with_the_same_digest(make_rig, make_hop):
    hop = await make_hop()
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", hop)
    queue_id = await rig.send("b@beta.test")
    [attempt] = rig.attempts(queue_id)
    assert attempt.sha256_out == attempt.sha256_in
    assert attempt.edits == []
