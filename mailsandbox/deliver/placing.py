"""Where each recipient of an accepted message goes, in one transaction: a mailbox, the queue, or others in its place.

    recipients ──▶ aliases ──┬──▶ here, with room ──▶ store
                    ▲  │     ├──▶ elsewhere ────────▶ queue
                    └──┘     └──▶ nowhere, no room ▶ refused: said in the session, else told by a notification

Invariants: every recipient ends in exactly one of these; nobody gets a message twice by being named twice; one full
mailbox keeps nobody else's mail back, and no notification from being written. Knows no protocol.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from mailsandbox.clock import Clock
from mailsandbox.database.tx import Tx
from mailsandbox.deliver.aliases import Alias, Aliases, expand
from mailsandbox.deliver.local import deliveries, went_round
from mailsandbox.deliver.notifier import Notifier
from mailsandbox.journey.model import Accepted, Delivered, Expanded, JourneyEvent, JourneyId, Undelivered
from mailsandbox.mailqueue.model import Action, NewItem, QueuedItem, RecipientReport
from mailsandbox.mailqueue.settling import wants_failure
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.trace import delivered_to_field
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.store.credentials import canonical
from mailsandbox.store.model import Delivery, Landed
from mailsandbox.store.store import Store

Record = Callable[[Tx, JourneyId, *tuple[JourneyEvent, ...]], None]

_DELIVERED = reply(250, "2.1.5", "Delivered to the mailbox")
_EXPANDED = reply(250, "2.1.5", "Sent on to the members of the alias")


class Message(msgspec.Struct, frozen=True):
    """An accepted message. `trace` goes before `octets`; `sha256` is that of `octets`, where it is known."""

    envelope: Envelope
    trace: bytes
    octets: bytes
    queue_id: str
    journey_id: str
    shown: bytes  # `octets` as a mailbox gets them, where one may: without Return-Path fields
    sha256: bytes | None = None
    clean: bool = False  # trace and octets are known to be what every SMTP server can carry


_Kind = Literal["mailbox", "alias", "elsewhere"]  # what an address is here


@dataclass(frozen=True, slots=True)
class _Round:
    """One message and all that comes of it: who has it already, and the aliases being expanded (`within`).

    `events` are not in the journey yet; they go there together.
    """

    events: list[JourneyEvent]
    placed: set[str] = field(default_factory=set)
    expanded: set[str] = field(default_factory=set)
    within: frozenset[str] = frozenset()


class Placing:
    """Places messages of one site. `checked`: not everyone is there (`exists`), or some have a quota."""

    def __init__(
        self,
        *,
        site: str,
        is_local: Callable[[str], bool],
        aliases: Aliases,
        exists: Callable[[str], bool],
        checked: bool,
        store: Store,
        notifier: Notifier,
        enqueue_in: Callable[[Tx, NewItem], None],
        record: Record,
        new_id: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._site = site
        self._is_local = is_local
        self._aliases = aliases
        self._exists = exists
        self._checked = checked
        self._store = store
        self._notifier = notifier
        self._enqueue_in = enqueue_in
        self._record = record
        self._new_id = new_id
        self._clock = clock

    def refusals_in(self, tx: Tx, message: Message) -> dict[str, Reply]:
        """The recipients that can not be placed, by forward-path; nothing is written."""
        if not self._checked and not self._aliases:
            return {}
        refused: dict[str, Reply] = {}
        local: list[Recipient] = []
        for recipient in message.envelope.recipients:
            match self._kind(recipient.address):
                case "mailbox":
                    local.append(recipient)
                case "alias" if (loop := self._loop(recipient.address, message.octets)) is not None:
                    refused[recipient.address] = loop
                case _:
                    pass
        return refused | self._without_mailbox(tx, deliveries(message.envelope, local, trace=message.trace), message)

    def place_in(
        self,
        tx: Tx,
        message: Message,
        refused: Mapping[str, Reply],
        *,
        accepted: Accepted | None = None,
        tell: bool = True,
    ) -> None:
        """Place all recipients but the `refused`, as `refusals_in` found them. `tell`: their sender does not know.

        `accepted` goes into the journey with what becomes of the message here.
        """
        around = _Round([accepted] if accepted else [])
        reports = self._undelivered(message, refused, around) if refused else []
        self._place_in(tx, message, refused, around, reports if tell else [])
        self._record_in(tx, message, around)

    def _place_in(
        self, tx: Tx, message: Message, refused: Container[str], around: _Round, reports: list[RecipientReport]
    ) -> None:
        local: list[Recipient] = []
        remote: list[Recipient] = []
        aliases: list[Recipient] = []
        for recipient in message.envelope.recipients:
            if recipient.address in refused:
                continue
            kind = self._kind(recipient.address, around.within)
            names = around.expanded if kind == "alias" else around.placed
            if (name := canonical(recipient.address)) in names:
                continue
            names.add(name)
            (local if kind == "mailbox" else aliases if kind == "alias" else remote).append(recipient)
        if local:
            reports += self._deliver_in(tx, message, local, around)
        if remote:
            onward = message.envelope.to(tuple(remote))
            now, trace = self._clock.now(), message.trace
            item = NewItem(
                message.queue_id,
                message.journey_id,
                onward,
                message.octets,
                now,
                trace,
                sha256=message.sha256,
                clean=message.clean,
            )
            self._enqueue_in(tx, item)
        for recipient in aliases:
            reports += self._expand_in(tx, message, recipient, around)
        if reports:
            self._record_in(tx, message, around)  # before what the sender is told of it
            self._tell_in(tx, message, reports)

    def _record_in(self, tx: Tx, message: Message, around: _Round) -> None:
        if around.events:
            self._record(tx, JourneyId(message.journey_id), *around.events)
            around.events.clear()

    def _kind(self, address: str, within: Container[str] = ()) -> _Kind:
        if not self._is_local(address):
            return "elsewhere"
        if not self._aliases or self._aliases.find(address) is None or canonical(address) in within:
            return "mailbox"  # an alias that is being expanded, and names itself, is one too
        return "alias"

    # Mailboxes

    def _deliver_in(
        self, tx: Tx, message: Message, recipients: Sequence[Recipient], around: _Round
    ) -> list[RecipientReport]:
        copies = deliveries(message.envelope, recipients, trace=message.trace)
        octets = message.shown
        now = self._clock.now()
        known = message.sha256 if octets is message.octets else None
        for landed in self._store.deliver_in(tx, copies, octets, journey_id=message.journey_id, now=now, sha256=known):
            around.events.append(_delivered(self._site, landed))
        # RFC 3461 §5.2.3: NOTIFY=SUCCESS is answered once the copy lies in the mailbox.
        return [self._report(one, Action.DELIVERED, _DELIVERED) for one in recipients if "SUCCESS" in one.notify]

    def _without_mailbox(self, tx: Tx, copies: Sequence[Delivery], message: Message) -> dict[str, Reply]:
        refused: dict[str, Reply] = {}
        left: dict[str, int] = {}
        for copy in copies if self._checked else ():
            if not self._exists(copy.recipient):
                refused[copy.recipient] = reply(550, "5.1.1", f"<{copy.recipient}>: No such mailbox here")
                continue
            room = self._store.room_in(tx, copy.account)
            if room is None:
                continue
            limit, free = room
            size = len(copy.trace) + len(message.octets)
            free = left.setdefault(copy.account, free) - size
            if size > limit:
                text = f"Message of {size} octets, the mailbox holds {limit}"
                refused[copy.recipient] = reply(552, "5.2.2", f"<{copy.recipient}>: {text} (RFC 3463 §3.3)")
            elif free < 0:
                # RFC 3463 §3.3: X.2.2 mailbox full, "a persistent transient failure": its user can make room.
                refused[copy.recipient] = reply(452, "4.2.2", f"<{copy.recipient}>: Mailbox full (RFC 3463 §3.3)")
            else:
                left[copy.account] = free
        return refused

    def _undelivered(self, message: Message, refused: Mapping[str, Reply], around: _Round) -> list[RecipientReport]:
        """The message has been accepted for others, so these are failures and not to be tried again."""
        reports = []
        for recipient in message.envelope.recipients:
            if (answer := refused.get(recipient.address)) is None:
                continue
            if answer.transient:
                answer = Reply(552, f"5{answer.enhanced[1:]}", answer.lines)
            around.events.append(Undelivered(self._site, recipient.address, str(answer), self._clock.now()))
            # A null reverse-path is told nothing: the notifier records the double bounce.
            if wants_failure(recipient) or not message.envelope.reverse_path:
                reports.append(self._report(recipient, Action.FAILED, answer))
        return reports

    # Aliases and lists

    def _loop(self, address: str, octets: bytes) -> Reply | None:
        if not self._aliases or not self._is_local(address) or self._aliases.find(address) is None:
            return None
        # RFC 3463 §3.5: X.4.6 routing loop detected.
        if (loop := self._aliases.loop(address)) is not None:
            return reply(554, "5.4.6", f"<{address}>: alias loop: {loop} (RFC 5321 §6.3)")
        if went_round(octets, address):
            return reply(554, "5.4.6", f"<{address}>: the message has been here before (RFC 5321 §6.3)")
        return None

    def _expand_in(self, tx: Tx, message: Message, recipient: Recipient, around: _Round) -> list[RecipientReport]:
        alias = self._aliases.find(recipient.address)
        assert alias is not None
        around.events.append(Expanded(self._site, recipient.address, list(alias.members), self._clock.now()))
        sent_on = Message(
            expand(message.envelope, recipient, alias),
            # So that it is known again, should a member lead back here (RFC 9228 §1).
            delivered_to_field(recipient.address) + message.trace,
            message.octets,
            self._new_id(),
            message.journey_id,
            message.shown,
            message.sha256,
        )
        inner = replace(around, within=around.within | {canonical(recipient.address)})
        mailboxes = [
            one
            for one in sent_on.envelope.recipients
            if canonical(one.address) not in around.placed and self._kind(one.address, inner.within) == "mailbox"
        ]
        copies = deliveries(sent_on.envelope, mailboxes, trace=sent_on.trace)
        refused = self._without_mailbox(tx, copies, sent_on)
        self._place_in(tx, sent_on, refused, inner, self._undelivered(sent_on, refused, inner))
        return self._about_alias(recipient, alias)

    def _about_alias(self, recipient: Recipient, alias: Alias) -> list[RecipientReport]:
        if "SUCCESS" not in recipient.notify:
            return []
        if alias.owner:  # RFC 3461 §5.2.7.1: it has been delivered to the list
            return [self._report(recipient, Action.DELIVERED, reply(250, "2.1.5", "Delivered to the mailing list"))]
        if len(alias.members) > 1:  # RFC 3461 §5.2.7.3
            return [self._report(recipient, Action.EXPANDED, _EXPANDED)]
        return []  # RFC 3461 §5.2.7.2: who delivers it will tell

    # The sender

    def _report(self, recipient: Recipient, action: Action, answer: Reply) -> RecipientReport:
        return RecipientReport(recipient, action, answer.enhanced, answer, "", self._clock.now())

    def _tell_in(self, tx: Tx, message: Message, reports: Sequence[RecipientReport]) -> None:
        octets = message.trace + message.octets
        now = self._clock.now()
        item = QueuedItem(
            message.queue_id, message.journey_id, self._site, message.envelope, now, len(octets), False, ()
        )
        if (notice := self._notifier.notices(item, reports, octets)) is not None:
            notice(tx)


def _delivered(site: str, landed: Landed) -> Delivered:
    return Delivered(
        site=site,
        recipient=landed.recipient,
        account=landed.account,
        mailbox=landed.mailbox,
        uid=landed.uid,
        message_id=landed.message_id,
        seq=landed.seq,
        octets=landed.octets,
        at=landed.at,
        committed_ns=landed.committed_ns,
    )
