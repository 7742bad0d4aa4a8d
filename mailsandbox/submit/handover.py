"""A message handed over in process (HTTP, the Python API): judged, traced and accepted as at the end of DATA.

Invariant: what SMTP would refuse is refused here, with the same reply; what is accepted is as durable.
"""

import msgspec

from mailsandbox.errors import QueueError, StoreError
from mailsandbox.message.envelope import Envelope
from mailsandbox.smtp.parameters import MailParameters
from mailsandbox.smtp.paths import check_mailbox
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.gate import Gate
from mailsandbox.submit.model import ListenerSpec, SubmitContext
from mailsandbox.submit.transaction import Client, Transaction


async def hand_over(
    envelope: Envelope, octets: bytes, *, spec: ListenerSpec, context: SubmitContext, client: str
) -> tuple[Reply, str]:
    """The reply that an SMTP client would have had, and the queue id ("" where refused).

    `client` is named in the Received field and in the journey, as HELO would be. The message is completed as by a
    submission server where `spec` is one. Dots are as they are: nothing is un-stuffed.
    """
    transaction = _transaction(envelope)
    if (refusal := _refused(transaction, octets, spec, context)) is not None:
        return refusal, ""
    caller = Client(None)
    caller.host_name, caller.extended_smtp = client, True
    gate = Gate(spec)
    outcome, findings = gate.judge(octets, transaction, offers=spec.offers)
    if isinstance(outcome, Reply):
        return outcome, ""
    queue_id = context.new_id()
    incoming = gate.admit(
        outcome, findings, transaction, client=caller, queue_id=queue_id, session_id="", now=context.clock.now()
    )
    try:
        with context.clock.working():
            answer = await context.accept(msgspec.structs.replace(incoming, each=False))
            assert isinstance(answer, Reply)
            return answer, queue_id if answer.positive else ""
    except (StoreError, QueueError) as error:
        return reply(452, "4.3.1", f"Cannot store the message now: {error}"), ""


def _transaction(envelope: Envelope) -> Transaction:
    """The envelope as MAIL and RCPT would have given it."""
    given = {
        "BODY": envelope.body,
        "RET": envelope.ret,
        "ENVID": envelope.envid,
        "BY": envelope.deliver_by,
    }
    flags = {"SMTPUTF8": envelope.smtputf8, "REQUIRETLS": envelope.require_tls}
    transaction = Transaction()
    transaction.mail_from = envelope.reverse_path
    transaction.smtp_utf8 = envelope.smtputf8
    transaction.parameters = MailParameters(
        {key: value for key, value in given.items() if value} | {key: "" for key, value in flags.items() if value},
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        ret=envelope.ret,
        envid=envelope.envid,
        require_tls=envelope.require_tls,
        deliver_by=envelope.deliver_by,
    )
    transaction.recipients = list(envelope.recipients)
    transaction.rcpt_tos = envelope.addresses
    # BINARYMIME is legal by BDAT only (RFC 3030 §3), which is how octets that come whole are taken.
    transaction.chunks = 1 if envelope.body == "BINARYMIME" else 0
    return transaction


def _refused(transaction: Transaction, octets: bytes, spec: ListenerSpec, context: SubmitContext) -> Reply | None:
    if not transaction.rcpt_tos:
        return reply(554, "5.5.1", "No valid recipients (RFC 5321 §3.3)")
    if len(octets) > spec.max_octets:
        return reply(552, "5.3.4", f"Message of {len(octets)} octets, the limit is {spec.max_octets} (RFC 1870 §6.1)")
    paths = [(transaction.reverse_path, "5.1.7")] if transaction.reverse_path else []
    for address, enhanced in (*paths, *((address, "5.1.3") for address in transaction.rcpt_tos)):
        if (bad := check_mailbox(address, tolerant=spec.tolerant)) is not None:
            return reply(553, enhanced, f"Bad address <{address[:100]}>: {bad.reason}")
        if not address.isascii() and not transaction.smtp_utf8:
            return reply(553, "5.6.7", f"Non-ASCII address <{address[:100]}> needs SMTPUTF8 (RFC 6531 §3.5)")
    if transaction.reverse_path and (refusal := context.check_sender(transaction.reverse_path)) is not None:
        return refusal
    for address in transaction.rcpt_tos:
        if (refusal := context.check_recipient(address)) is not None:
            return refusal
    return None
