"""The end of data: from octets and an envelope to a message that may be handed over, or the refusing reply.

Order: loop count (RFC 5321 §6.3), what a submission server completes (RFC 6409 §8), the receive gate of `encoding`,
our Received field (RFC 5321 §4.4). Invariant: the content is changed only where the gate says so (`normalize`) and
where a submission's Bcc is removed; fields that we add go before it, into the trace.
"""

import hashlib
import re
from typing import Final

import msgspec

from mailsandbox.encoding import MAX_LINE, Accept, Convert, ReceiveMode, Refuse, is_clean, judge_received
from mailsandbox.journey.model import Accepted, TranscriptLine
from mailsandbox.message.findings import Finding
from mailsandbox.message.trace import format_date, received_field, received_values
from mailsandbox.message.underway import Known
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.model import Incoming, ListenerSpec
from mailsandbox.submit.transaction import Client, Transaction, protocol_word, tolerated

_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_MAX_HEADER: Final = 1 << 20  # octets looked at for the fields a submission must have
_FIELD_NAME: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:", re.MULTILINE)
_BCC: Final = re.compile(rb"^(?:resent-)?bcc[ \t]*:(?:[^\n]*\n)(?:[ \t][^\n]*\n)*", re.MULTILINE | re.IGNORECASE)


class Passed(msgspec.Struct, frozen=True):
    """What the gate lets pass. `received`: values of its Received fields; `clean`: any server can carry it; `known`:
    whose octets are the last of these.
    """

    octets: bytes
    received: list[bytes]
    clean: bool = False
    known: Known | None = None


class Gate:
    """What one listener does with every message at the end of data."""

    def __init__(self, spec: ListenerSpec) -> None:
        self._spec = spec
        self._mode = ReceiveMode(spec.mode)

    def judge(
        self, octets: bytes, transaction: Transaction, *, offers: Offers, known: Known | None = None
    ) -> tuple[Passed | Reply, list[Finding]]:
        """The octets to go on with, or the refusal; and what was found in them either way."""
        findings: list[Finding] = []
        received = received_values(octets)
        if len(received) >= self._spec.limits.received_fields:
            refusal = reply(554, "5.4.6", f"Routing loop: {len(received)} Received fields (RFC 5321 §6.3)")
            findings.append(Finding("routing-loop", "RFC 5321 §6.3", refusal.text, enhanced="5.4.6", fatal=True))
            return refusal, findings
        clean = known is not None and known.clean and is_clean(octets[: len(octets) - len(known.octets)])
        clean = clean or is_clean(octets)
        verdict = judge_received(
            octets,
            mode=self._mode,
            declared_body=transaction.parameters.body,
            smtputf8=transaction.smtp_utf8,
            offers=offers,
            via_bdat=transaction.chunks > 0,
            clean=clean,
        )
        if verdict.findings:
            findings.extend(verdict.findings)
        match verdict:
            case Accept():
                return Passed(octets, received, clean, known), findings
            case Convert(octets=normalized):
                return Passed(normalized, received_values(normalized)), findings
            case Refuse(reply=refusal):
                return refusal, findings

    def admit(
        self,
        passed: Passed,
        findings: list[Finding],
        transaction: Transaction,
        *,
        client: Client,
        queue_id: str,
        session_id: str,
        now: float,
    ) -> Incoming:
        """The message as it is handed over, with the findings of its envelope. `add_transcript` fills in the lines."""
        spec, known = self._spec, passed.known
        octets, added = passed.octets, b""
        if spec.submission:
            octets, added = _complete(octets, findings, transaction, spec=spec, queue_id=queue_id, now=now)
            known = known if octets is passed.octets else None
        remarks = [client.helo_remark, *transaction.remarks] if client.helo_remark else transaction.remarks
        word = protocol_word(spec, client, transaction)
        recipients = transaction.rcpt_tos
        trace = received_field(
            helo=client.helo,
            peer=client.address or "127.0.0.1",
            by=spec.hostname,
            protocol=word,
            queue_id=queue_id,
            at=now,
            # RFC 5321 §7.2: naming one of several would tell each of the others.
            recipient=recipients[0] if len(recipients) == 1 else "",
            tls=client.tls,
        )
        accepted = Accepted(
            site=spec.site,
            queue_id=queue_id,
            at=now,
            session_id=session_id,
            peer=client.where,
            helo=client.helo,
            protocol=word,
            tls=client.tls,
            envelope=transaction.record(),
            octets=len(octets),
            sha256=_sha256(octets, known),
            findings=[*map(tolerated, remarks), *findings] if remarks else findings,
            transcript=[],
        )
        done = reply(250, "2.0.0", f"Ok: queued as {queue_id}")
        each = spec.lmtp
        # Our own field has no bare CR or LF: where all of it is as short as a line, there is little left to look for.
        clean = passed.clean and (is_clean(trace + added) if added else _short_and_plain(trace))
        return Incoming(
            queue_id,
            transaction.envelope(),
            octets,
            passed.received,
            trace + added,
            accepted,
            done,
            each=each,
            clean=clean,
            known=known,
        )


def add_transcript(incoming: Incoming, lines: list[TranscriptLine]) -> None:
    """Put the session's lines into the record, and the reply that follows once the message is durable."""
    at = lines[-1].at if lines else 0.0
    incoming.accepted.transcript.extend((*lines, TranscriptLine(at, "S", str(incoming.reply))))


def _short_and_plain(field: bytes) -> bool:
    return len(field) <= MAX_LINE and field.isascii() and 0 not in field


def _sha256(octets: bytes, known: Known | None) -> str:
    """In hex; taken from who sends them where they came as they are sent."""
    if known is not None and octets[: len(octets) - len(known.octets)] == known.trace:
        return known.whole_sha256
    return hashlib.sha256(octets).hexdigest()


def _complete(
    octets: bytes, findings: list[Finding], transaction: Transaction, *, spec: ListenerSpec, queue_id: str, now: float
) -> tuple[bytes, bytes]:
    """RFC 6409 §8: the octets without Bcc, and the fields that the author's program left to us."""
    header_end = _header_end(octets)
    header = octets[:header_end]
    names = {name.lower() for name in _FIELD_NAME.findall(header)}
    added = []
    if b"date" not in names:
        added.append(f"Date: {format_date(now)}\r\n")  # RFC 6409 §8.2
    if b"message-id" not in names:
        added.append(f"Message-ID: <{queue_id}@{spec.hostname}>\r\n")  # RFC 6409 §8.3
    if b"from" not in names and transaction.reverse_path:
        added.append(f"From: <{transaction.reverse_path}>\r\n")  # RFC 5322 §3.6: the other field that must be there
    findings.extend(
        Finding("completed", "RFC 6409 §8", f"added {field.partition(':')[0]}, which was missing") for field in added
    )
    if added and not names and not octets.startswith((b"\r\n", b"\n")):
        added.append("\r\n")  # a body without any header: the fields must not run into its first line
    if not names.isdisjoint((b"bcc", b"resent-bcc")):
        # RFC 5322 §3.6.3, §3.6.6: the line is removed where the message is submitted; the envelope still knows.
        octets = b"".join((_BCC.sub(b"", header), memoryview(octets)[header_end:]))
        findings.append(Finding("bcc-removed", "RFC 5322 §3.6.3", "removed the Bcc field"))
    return octets, "".join(added).encode("utf-8", "surrogateescape")


def _header_end(octets: bytes) -> int:
    """Where the last field's line ends; 0 where the message begins with its body."""
    if octets.startswith((b"\r\n", b"\n")):
        return 0
    end = _HEADER_END.search(octets, 0, _MAX_HEADER)
    if end is None:
        return len(octets) if len(octets) <= _MAX_HEADER else 0
    return octets.index(b"\n", end.start()) + 1
