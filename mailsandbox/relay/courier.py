"""One attempt for one destination: its hops in order, until every recipient has an answer. Implements Courier.

Invariants: only addresses that `allow` permits are connected to; a recipient whose copy may have been accepted is not
offered to another hop in the same attempt (RFC 1047); every hop that was tried leaves a record of what was said, what
went in and what went out. Does not know what is said at a hop (`visit`), nor when to try again (the queue).
"""

import asyncio
import hashlib
import socket
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from mailsandbox.clock import Clock
from mailsandbox.encoding.verdicts import Refuse, RelayPolicy
from mailsandbox.faults import Faults
from mailsandbox.journey.model import Attempted, TranscriptLine
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.model import AttemptReport, Later, Never, Outcome, QueuedMessage
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.tls_required import tls_waived
from mailsandbox.relay.allow import Allow
from mailsandbox.relay.connection import Timeouts
from mailsandbox.relay.parameters import sendable
from mailsandbox.relay.pool import Pool
from mailsandbox.relay.record import HopRecord
from mailsandbox.relay.routes import Hop, Hops, Routes, Unroutable
from mailsandbox.relay.tls import TlsPolicy, policy_for, sts_names
from mailsandbox.relay.visit import Equipment, Prepare, Visit
from mailsandbox.relay.zone import MtaSts
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.wording import cause_of

_NOWHERE: Final = Hop("", "", 0)


class _Attempt(msgspec.Struct, eq=False):
    """What one attempt has come to so far."""

    message: QueuedMessage
    open: list[Recipient]  # without a final answer: offered to the next hop
    sha256: str
    outcomes: dict[str, Outcome] = {}
    records: list[Attempted] = []
    reached: bool = False

    def settle(
        self,
        outcomes: dict[str, Outcome],
        *,
        uncertain: Collection[str] = (),
        incapable: Collection[str] = (),
    ) -> None:
        """Take a hop's answers. Who stays open: those with a transient one, but for those who may have their copy.

        Those too whom this hop cannot carry: another exchanger may offer more, so it is asked before they bounce.
        """
        self.outcomes.update(outcomes)
        self.open = [
            recipient
            for recipient in self.open
            if recipient.address in incapable
            or (isinstance(outcomes.get(recipient.address), Later) and recipient.address not in uncertain)
        ]


class RelayCourier:
    """Carries messages to other servers by SMTP and LMTP."""

    def __init__(
        self,
        *,
        site: str,
        helo: str,
        routes: Routes,
        allow: Allow,
        tls: TlsPolicy,
        prepare: Prepare,
        policy: RelayPolicy,
        faults: Faults,
        clock: Clock,
        sessions: SessionLog,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.routes = routes
        self.allow = allow
        self._tls = tls
        timeouts = timeouts or Timeouts()
        self._kit = Equipment(site, helo, prepare, policy, faults, clock, sessions, timeouts, Pool(timeouts))

    def destination(self, recipient: Recipient) -> str:
        """Recipients of one route, or of one domain with an MX of its own, share a transaction."""
        return self.routes.key(recipient.address)

    async def attempt(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> AttemptReport:
        """Try the hops of these recipients' destination, in order."""
        sha256 = message.sha256 or hashlib.sha256(message.octets).hexdigest()
        attempt = _Attempt(message, list(recipients), sha256)
        self._turn_away(attempt)
        if attempt.open:
            found = self.routes.resolve(attempt.open[0].address)
            if isinstance(found, Hops) and found.to_resolve:
                found = await _resolved(found)
            if isinstance(found, Hops):
                for hop in found.hops:
                    await self._try_hop(attempt, self.routes.placed(hop), found)
                    if not attempt.open:
                        break
            else:
                attempt.reached = True  # the name, not a server, is at fault: what waits behind has its own answer
                self._answer(attempt, _NOWHERE, found.reply)
        return AttemptReport(attempt.outcomes, tuple(attempt.records), attempt.reached)

    def seven_bit(self, octets: bytes) -> bytes | None:
        """The message as a hop without any extension would be given it; None where it cannot be converted."""
        verdict = self._kit.prepare(octets, offers=Offers(), envelope=Envelope("", ()), policy=self._kit.policy)
        return None if isinstance(verdict, Refuse) else verdict.octets

    async def aclose(self) -> None:
        """Close kept connections."""
        await self._kit.pool.aclose()

    def _turn_away(self, attempt: _Attempt) -> None:
        """Addresses that no command line can hold: they came past the listener, by import for example."""
        sender_bad = not sendable(attempt.message.envelope.reverse_path)
        bad = [one for one in attempt.open if sender_bad or not sendable(one.address)]
        if not bad:
            return
        text = "the sender's address" if sender_bad else "the address"
        never = Never(reply(553, "5.1.7" if sender_bad else "5.1.3", f"{text} cannot be put into a command"))
        refused: dict[str, Outcome] = {one.address: never for one in bad}
        attempt.reached = True
        attempt.outcomes.update(refused)
        attempt.records.append(self._unsent(attempt, _NOWHERE, refused, text=never.reply.text))
        attempt.open = [one for one in attempt.open if one.address not in refused]

    async def _try_hop(self, attempt: _Attempt, hop: Hop, found: Hops) -> None:
        if not self.allow.permits(hop.address, hop.port):
            # Nothing leaves the box. Waiting would not make it right, so the message is not kept.
            text = f"{hop.place} is not listed under [relay] allow: no connection was made"
            attempt.reached = True
            self._answer(attempt, hop, reply(550, "5.7.1", text))
            return
        sts, waived = found.mta_sts, ""
        asked = hop.tlsa or hop.tlsa_failed or sts is not None
        if asked and not attempt.message.envelope.require_tls and tls_waived(attempt.message.octets):
            # RFC 8689 §4.2.2: DANE and MTA-STS are passed over, REQUIRETLS is not.
            hop, sts = msgspec.structs.replace(hop, tlsa=(), tlsa_failed=False), None
            waived = "TLS-Required: No (RFC 8689 §3)"
        if hop.tlsa_failed:
            # RFC 7672 §2.1.2: whether it is secured can not be known, so it is not used; the message waits.
            self._answer(attempt, hop, reply(451, "4.7.5", f"the TLSA records of {hop.host} can not be had (SERVFAIL)"))
            return
        unnamed = "" if sts is None or sts_names(hop.host, sts) else f"{hop.host} is not named by the MTA-STS policy"
        if unnamed and sts is not None and sts.mode == "enforce":
            # RFC 8461 §5: an exchanger that the policy does not name is not used; the message waits.
            self._answer(attempt, hop, reply(451, "4.7.5", unnamed))
            return
        if _unproven(hop, found, attempt.message.envelope):
            text = f"neither DNSSEC nor MTA-STS proves that {hop.host} takes its mail, as REQUIRETLS asks for"
            self._answer(attempt, hop, reply(550, "5.7.10", text), for_this_hop=True)
            return
        doubts = f"MTA-STS (testing): {unnamed}" if unnamed and sts is not None and sts.mode == "testing" else waived
        message = attempt.message
        unsafe = await self._visit(attempt, hop, message, sts, doubts)
        if unsafe and attempt.open and not message.envelope.reverse_path:
            # RFC 8689 §5: a notification is not lost for want of REQUIRETLS.
            envelope = msgspec.structs.replace(message.envelope, require_tls=False)
            message = msgspec.structs.replace(message, envelope=envelope)
            await self._visit(attempt, hop, message, sts, "REQUIRETLS is waived for a notification (RFC 8689 §5)")

    async def _visit(
        self, attempt: _Attempt, hop: Hop, message: QueuedMessage, sts: MtaSts | None, doubts: str
    ) -> bool:
        """One hop's answers. Whether it was not as safe as the message's REQUIRETLS asks for."""
        kit = self._kit
        record = HopRecord(message, hop, kit.clock.now(), attempt.sha256)
        policy = policy_for(hop, configured=self._tls, envelope=message.envelope, mta_sts=sts)
        visit = Visit(kit, message, list(attempt.open), hop, policy, record, doubts=doubts)
        await visit.run()
        lines = visit.session.since(visit.mark) if visit.session is not None else []
        attempt.records.append(record.finish(lines, ended_at=kit.clock.now()))
        attempt.reached = attempt.reached or visit.reached
        attempt.settle(record.outcomes, uncertain=visit.uncertain, incapable=visit.incapable)
        return visit.unsafe

    def _answer(self, attempt: _Attempt, hop: Hop, answer: Reply, *, for_this_hop: bool = False) -> None:
        """An answer of our own for everybody, without a connection. `for_this_hop`: the next is asked all the same."""
        outcome = Never(answer) if answer.permanent else Later(answer)
        outcomes: dict[str, Outcome] = {one.address: outcome for one in attempt.open}
        attempt.records.append(self._unsent(attempt, hop, outcomes, text=answer.text))
        attempt.settle(outcomes, incapable=outcomes if for_this_hop else ())

    def _unsent(self, attempt: _Attempt, hop: Hop, outcomes: dict[str, Outcome], *, text: str) -> Attempted:
        now = self._kit.clock.now()
        record = HopRecord(attempt.message, hop, now, attempt.sha256)
        record.outcomes = outcomes
        return record.finish([TranscriptLine(0.0, "!", text)], ended_at=now)


def _unproven(hop: Hop, found: Hops, envelope: Envelope) -> bool:
    """Whether REQUIRETLS keeps a message from an exchanger that anyone might have named (RFC 8689 §4.2.1, step 2)."""
    if found.proven or not envelope.require_tls or not envelope.reverse_path:
        return False
    return found.mta_sts is None or not sts_names(hop.host, found.mta_sts)


async def _resolved(found: Hops) -> Hops | Unroutable:
    """Ask the system for the addresses of a static route's host: the user has named it, the zone does not know it."""
    hop = found.hops[0]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Unroutable(reply(451, "4.4.3", f"the name {hop.host} cannot be resolved: {cause_of(error)}"))
    addresses = dict.fromkeys(str(info[4][0]) for info in infos)
    return replace(
        found, hops=tuple(msgspec.structs.replace(hop, address=address) for address in addresses), to_resolve=""
    )
