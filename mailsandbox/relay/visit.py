"""One message at one hop: connect or reuse, ask the relay gate, have the transaction, sort out the answers.

Invariants: message data go out only as the relay gate gave them, and only over a connection that is as safe as the
policy asks; each recipient gets exactly one outcome; a kept connection that turns out to be gone costs a second
connection, not the attempt. Knows no routes and no queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from msgspec import Struct, structs

from mailsandbox.clock import Clock
from mailsandbox.encoding.verdicts import Accept, Convert, Emulation, Refuse, RelayPolicy, Verdict
from mailsandbox.faults import Delay, Drop, Faults, Respond
from mailsandbox.journey.sessions import SessionLog, SessionRecord
from mailsandbox.mailqueue.model import Done, Later, Never, Outcome, QueuedMessage
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.relay.connection import Connection, Timeouts
from mailsandbox.relay.opening import HopFailure, open_connection
from mailsandbox.relay.parameters import (
    deadline_ends,
    deadline_refused,
    deadline_traced,
    mail_line,
    mail_parameters,
    recipient_line,
    recipient_parameters,
)
from mailsandbox.relay.pool import Pool
from mailsandbox.relay.record import HopRecord
from mailsandbox.relay.routes import Hop
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.relay.transaction import Mail, Transaction, beyond_limit
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply

_BDAT_ALWAYS: Final = frozenset({Emulation.STRICT, Emulation.EXIM})


class Prepare(Protocol):
    """The relay gate: `mailsandbox.encoding` in the sandbox."""

    def __call__(
        self, octets: bytes, *, offers: Offers, envelope: Envelope, policy: RelayPolicy, clean: bool = False
    ) -> Verdict:
        """What may be sent to a server with these offers. `clean`: any server can carry them, as is known."""
        ...


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every visit of a site's relay uses."""

    site: str
    helo: str
    prepare: Prepare
    policy: RelayPolicy
    faults: Faults
    clock: Clock
    sessions: SessionLog
    timeouts: Timeouts
    pool: Pool


class Visit(Struct, eq=False):
    """One message at one hop. After `run`, `outcomes` has every recipient of `recipients`."""

    kit: Equipment
    message: QueuedMessage
    recipients: Sequence[Recipient]
    hop: Hop
    tls: TlsPolicy
    record: HopRecord
    doubts: str = ""  # to be noted, though nothing follows from it
    reached: bool = False
    uncertain: frozenset[str] = frozenset()  # their copy may have been accepted
    incapable: set[str] = set()  # refused by the relay gate, as this hop cannot carry it
    unsafe: bool = False  # REQUIRETLS asks for more than this hop has
    session: SessionRecord | None = None
    mark: int = 0

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """By forward-path."""
        return self.record.outcomes

    async def run(self) -> None:
        """All of it."""
        try:
            if (kept := self.kit.pool.take(self.hop, self.tls.level)) is not None:
                self._listen_to(kept.session)
                kept.session.note(f"connection used again: message {kept.transactions + 1}")
                if await self._talk(kept, kept=True):
                    return
            connection = await self._open()
            await self._talk(connection, kept=False)
        except HopFailure as failure:
            self.reached = self.reached or failure.said
            if failure.unsafe and self.message.envelope.require_tls:
                self._not_safe(reply(550, "5.7.10", f"REQUIRETLS needs TLS that can be trusted: {failure.reply.text}"))
            self._all(failure.reply, self.hop.host if failure.said else "")

    def _listen_to(self, session: SessionRecord) -> None:
        self.session, self.mark = session, session.mark
        if self.doubts:
            session.note(self.doubts)

    def _all(self, answer: Reply, remote: str) -> None:
        """The same answer for everyone who has none yet."""
        for recipient in self.recipients:
            self.outcomes.setdefault(recipient.address, _outcome(answer, remote))

    def _not_safe(self, answer: Reply) -> None:
        # RFC 8689 §4.2.1: every exchanger is asked, then it is returned: 5.7.30 REQUIRETLS support required, or 5.7.10
        # encryption needed. It is not tried again.
        self.reached = self.unsafe = True
        self.incapable.update(recipient.address for recipient in self.recipients)
        self._all(answer, "")

    # The connection

    async def _open(self) -> Connection:
        kit, hop = self.kit, self.hop
        session = kit.sessions.open("relay", f"{kit.site}.relay", peer=hop.place, local=kit.helo)
        self._listen_to(session)
        await self._fault("connect", hop.host)
        try:
            return await self._dial(self.tls, session)
        except HopFailure as failure:
            if not failure.tls or self.tls.level != "opportunistic" or hop.implicit_tls:
                session.close("failed")
                raise
        except BaseException:
            session.close("aborted")
            raise
        # RFC 7435 §3: opportunistic security falls back to clear text; on a new connection, as this one is lost.
        session.note("TLS failed: connecting again, in clear text")
        try:
            return await self._dial(replace(self.tls, level="off"), session)
        except BaseException:
            session.close("failed")
            raise

    async def _dial(self, tls: TlsPolicy, session: SessionRecord) -> Connection:
        kit = self.kit
        return await open_connection(self.hop, helo=kit.helo, tls=tls, timeouts=kit.timeouts, session=session)

    # The transaction

    async def _talk(self, connection: Connection, *, kept: bool) -> bool:
        """Have the transaction. False where a kept connection turned out to be of no use."""
        try:
            self.reached = True
            self.record.connected(connection)
            if not self._may_go(connection):
                return True
            recipients = await self._past_faults() if len(self.kit.faults) else self.recipients
            if not recipients or (verdict := self._judged(connection, recipients)) is None:
                return True
            if verdict.refused:
                recipients = [one for one in recipients if one.address not in verdict.refused]
            return not recipients or await self._send_all(connection, verdict, recipients, kept=kept)
        finally:
            self.kit.pool.give(connection, self.tls.level)

    def _may_go(self, connection: Connection) -> bool:
        """Whether the server has what the sender asked for."""
        message = self.message
        envelope = message.envelope
        if envelope.require_tls and "REQUIRETLS" not in connection.offers:
            text = f"{self.hop.host} does not offer REQUIRETLS, which the sender asked for"
            self._not_safe(reply(550, "5.7.30", text))
            return False
        if not envelope.deliver_by:
            return True
        used = self.kit.clock.now() - message.received_at
        late = deadline_refused(envelope, offers=connection.offers, seconds_used=used, lmtp=self.hop.lmtp)
        if late is not None:
            connection.session.note(f"not sent: {late}")
            self.incapable.update(recipient.address for recipient in self.recipients)
            self._all(late, "")
            return False
        return True

    def _judged(self, connection: Connection, recipients: Sequence[Recipient]) -> Accept | Convert | None:
        """What the relay gate lets pass. None where it is nothing: everybody has the answer then."""
        message = self.message
        whole = len(recipients) == len(message.envelope.recipients)
        verdict = self.kit.prepare(
            message.octets,
            offers=connection.offers,
            envelope=message.envelope if whole else message.envelope.to(tuple(recipients)),
            policy=structs.replace(self.kit.policy, queue_id=message.queue_id),
            clean=message.clean,
        )
        if isinstance(verdict, Refuse):
            self.record.refused(verdict.findings)
            connection.session.note(f"not sent: {verdict.reply}")
            self.incapable.update(recipient.address for recipient in recipients)
            self._all(verdict.reply, "")
            return None
        self.record.judged(verdict)
        if verdict.refused:
            self.incapable.update(verdict.refused)
            for recipient in recipients:
                if (refused := verdict.refused.get(recipient.address)) is not None:
                    self.outcomes[recipient.address] = _outcome(refused, "")
        return verdict

    async def _send_all(
        self, connection: Connection, verdict: Accept | Convert, recipients: Sequence[Recipient], *, kept: bool
    ) -> bool:
        """As many transactions as the server's limit on recipients asks for."""
        rest = list(recipients)
        limit = connection.most_recipients or len(rest)
        first = True
        while rest and (first or connection.usable):
            batch, rest = rest[:limit], rest[limit:]
            transaction, traced = self._transaction(connection.offers, verdict, batch)
            cut = len(self.kit.faults) > 0 and isinstance(self._match("message", ""), Drop)
            await connection.run(transaction, self.kit.timeouts, cut_at_end=cut)
            if kept and first and not transaction.octets_sent and (transaction.shutting or not transaction.heard):
                connection.session.note("the kept connection was gone")
                return False
            first = False
            if transaction.octets_sent:
                self.record.sent(verdict.octets)
            self._sort_out(transaction, batch, connection.offers, traced=traced)
            beyond = beyond_limit(transaction)
            if beyond and len(beyond) < len(batch):
                # RFC 5321 §4.5.3.1.10: those beyond the limit follow, as long as it takes anybody.
                rest = [*(batch[index] for index in beyond), *rest]
        if rest:
            self._all(reply(451, "4.4.2", f"{self.hop.host}: the connection ended before their turn came"), "")
        return True

    def _transaction(
        self, offers: Offers, verdict: Accept | Convert, recipients: Sequence[Recipient]
    ) -> tuple[Transaction, bool]:
        """One transaction, and whether the sender is told of it."""
        kit, message = self.kit, self.message
        envelope, addresses = message.envelope, verdict.addresses
        used, ends, traced = 0.0, False, False
        if envelope.deliver_by:
            used = kit.clock.now() - message.received_at
            ends = deadline_ends(envelope, offers=offers, seconds_used=used, lmtp=self.hop.lmtp)
            traced = ends or deadline_traced(envelope)
        mail = mail_parameters(
            envelope,
            offers=offers,
            octets=len(verdict.octets),
            body=verdict.body,
            smtputf8=verdict.smtputf8,
            seconds_used=used,
        )
        paths: dict[str, dict[str, str]] = {}
        lines = []
        for one in recipients:
            path = addresses.get(one.address, one.address)
            paths[path] = recipient_parameters(one, offers=offers, smtputf8=verdict.smtputf8, tell_delay=ends)
            lines.append(recipient_line(path, paths[path]))
        reverse_path = addresses.get(envelope.reverse_path, envelope.reverse_path)
        self.record.said(mail, paths, reverse_path)
        load = Mail(
            mail_line(reverse_path, mail),
            lines,
            verdict.octets,
            # RFC 3030 §2: one round trip less, and no octet is touched. Postfix and Sendmail never ask for it.
            bdat=verdict.use_bdat or ("CHUNKING" in offers.keywords and kit.policy.emulate in _BDAT_ALWAYS),
            lmtp=self.hop.lmtp,
            pipelining="PIPELINING" in offers.keywords,
        )
        return Transaction(load), traced

    def _sort_out(
        self, transaction: Transaction, recipients: Sequence[Recipient], offers: Offers, *, traced: bool
    ) -> None:
        """From replies to outcomes."""
        for index, recipient in enumerate(recipients):
            answer = transaction.results[index] or reply(451, "4.5.0", "no reply")
            remote = "" if index in transaction.unanswered else self.hop.host
            if 200 <= answer.code < 300:
                # RFC 2033: LMTP is final delivery. RFC 3461 §5.2.2: a server without DSN cannot tell of success.
                lmtp = self.hop.lmtp
                relayed = "DSN" not in offers.keywords and not lmtp
                outcome: Outcome = Done(answer, relayed, lmtp, traced and not lmtp, remote)
            else:
                outcome = _outcome(answer, remote, to_rcpt=index in transaction.refused)
            self.outcomes[recipient.address] = outcome
        if transaction.uncertain:
            self.uncertain |= {recipients[index].address for index in transaction.uncertain}
            self.record.possible_duplicate = True

    # Scripted faults

    async def _past_faults(self) -> list[Recipient]:
        """The recipients that no fault has answered in the server's place."""
        await self._fault("mail", self.message.envelope.reverse_path)
        passed = []
        for recipient in self.recipients:
            answer = await self._fault_reply("rcpt", recipient.address)
            if answer is None:
                passed.append(recipient)
            else:
                self.outcomes[recipient.address] = _outcome(answer, self.hop.host, to_rcpt=True)
        if passed:
            await self._fault("data", "")
        return passed

    async def _fault(self, stage: str, account: str) -> None:
        """Raises HopFailure where a fault answers this stage for everybody."""
        answer = await self._fault_reply(stage, account)
        if answer is not None:
            raise HopFailure(answer, said=True)

    async def _fault_reply(self, stage: str, account: str) -> Reply | None:
        match self._match(stage, account):
            case Respond(code, text, enhanced):
                self._note(f"fault: answered {code} {text} at {stage}")
                return Reply(code, enhanced, (text,))
            case Drop():
                self._note(f"fault: connection broken off at {stage}")
                raise HopFailure(reply(451, "4.4.2", f"{self.hop.host}: connection broken off by a scripted fault"))
            case Delay(seconds):
                self._note(f"fault: {seconds} seconds of delay at {stage}")
                clock = self.kit.clock
                with clock.resting():
                    await clock.sleep_until(clock.now() + seconds)
        return None

    def _match(self, stage: str, account: str) -> Respond | Drop | Delay | None:
        return self.kit.faults.match("relay", site=self.kit.site, stage=stage, account=account, text=self.hop.host)

    def _note(self, text: str) -> None:
        if self.session is not None:
            self.session.note(text)


def _outcome(answer: Reply, remote: str, *, to_rcpt: bool = False) -> Outcome:
    """What a reply means for a recipient. `to_rcpt`: it was the answer to RCPT."""
    if 200 <= answer.code < 300:
        return Done(answer, remote=remote)
    # RFC 5321 §4.5.3.1.10: 552 to RCPT for too many recipients counts as 452. A mailbox that is full (5.2.2) and a
    # message that is too large (5.3.4) say so in the enhanced code.
    too_many = to_rcpt and answer.code == 552 and answer.enhanced in ("", "5.5.3")
    if answer.permanent and not too_many:
        return Never(answer, remote)
    return Later(answer, remote)
