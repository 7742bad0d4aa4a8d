"""One simulated mail server (an ADMD, RFC 5598 §2.3): the stations of a message's path, joined.

    listeners (submit) -- judged, with its trace --> accept -+- local recipients --> store --> change log --> readers
                                                             +- other recipients --> queue --> relay --> next site
                                                                   +- failed, delayed --> notifier --> accept

Invariant: `accept` answers 250 only when one transaction has stored every local copy, queued every other recipient and
written the journey. No protocol logic here: what a station does is in its package.
"""

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from mailsandbox.clock import Clock
from mailsandbox.database.blobs import written_ahead
from mailsandbox.database.files import LARGE
from mailsandbox.database.tx import Database, Tx
from mailsandbox.deliver.aliases import Alias, Aliases
from mailsandbox.deliver.local import without_return_path
from mailsandbox.deliver.notifier import Notifier
from mailsandbox.deliver.placing import Message, Placing
from mailsandbox.faults import Faults
from mailsandbox.journey.model import JourneyId
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.runner import Queue
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, domain_of
from mailsandbox.message.trace import leading_received, received_ids
from mailsandbox.message.underway import Underway
from mailsandbox.relay.courier import RelayCourier
from mailsandbox.relay.routes import Routes
from mailsandbox.relay.zone import Found
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.specs import SiteSpec
from mailsandbox.store.credentials import Credentials, canonical
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.store import Store
from mailsandbox.submit.handover import hand_over
from mailsandbox.submit.listener import SmtpListener
from mailsandbox.submit.model import Authentication, EachReply, Incoming, Kind, Limits, ListenerSpec, SubmitContext
from mailsandbox.submit.spool import Memory

_NOTHING: Final = contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sites of a sandbox have in common."""

    database: Database
    store: Store
    ledger: JourneyLedger
    credentials: Credentials
    sessions: SessionLog
    faults: Faults
    clock: Clock
    tls: ssl.SSLContext
    rng: random.Random
    aliases: Mapping[str, Alias]
    memory: Memory  # bounds what all listeners hold of messages being received
    underway: Underway  # what the sites are sending, mostly to each other
    new_id: Callable[[], str]
    ends_here: Callable[[str], bool]  # whether any site keeps mail for the address


class Site:
    """One site's stations. Listeners are started first; the queue runs once the routes between sites are known."""

    def __init__(
        self,
        spec: SiteSpec,
        shared: Shared,
        *,
        host: str,
        routes: Routes,
        courier: RelayCourier,
        retry: RetryPolicy,
        limits: QueueLimits,
    ) -> None:
        self.spec = spec
        self.routes = routes
        self._shared = shared
        self._notifier = Notifier(
            site=spec.name,
            hostname=spec.hostname,
            clock=shared.clock,
            new_id=shared.new_id,
            hand_over_in=self._hand_over_in,
            record=shared.ledger.append_in,
            to_seven_bit=courier.seven_bit,
        )
        self._aliases = Aliases(shared.aliases, is_local=self.is_local)
        self.queue = Queue(
            shared.database,
            site=spec.name,
            courier=courier,
            retry=retry,
            clock=shared.clock,
            rng=shared.rng,
            record=shared.ledger.append_in,
            notify=self._notifier.notices,
            limits=limits,
            underway=shared.underway,
            lately=shared.store.lately,
        )
        self._placing = Placing(
            site=spec.name,
            is_local=self.is_local,
            aliases=self._aliases,
            exists=self._exists,
            checked=shared.credentials.has_quotas or not shared.credentials.any_account,
            store=shared.store,
            notifier=self._notifier,
            enqueue_in=self.queue.enqueue_in,
            record=shared.ledger.append_in,
            new_id=shared.new_id,
            clock=shared.clock,
        )
        self._context = SubmitContext(
            accept=self.accept,
            new_id=shared.new_id,
            check_recipient=self._check_recipient,
            check_sender=self._check_sender,
            credentials=shared.credentials,
            sessions=shared.sessions,
            faults=shared.faults,
            clock=shared.clock,
            tls=shared.tls,
            memory=shared.memory,
            underway=shared.underway,
            run_queue=self.queue.run_for,
            expand=self._members,
        )
        specs = listener_specs(spec, host)
        self._entrance = specs[0] if specs else _listener_spec(spec, host)
        self.listeners = [SmtpListener(listener, self._context) for listener in specs]

    async def accept(self, incoming: Incoming) -> Reply | EachReply:
        """Make one message durable, everywhere it belongs, and take responsibility for it (RFC 5321 §6.1).

        Where no recipient can be served, nothing is written and the client is told why. Where some can not, LMTP is
        told which (RFC 2033 §4.2); SMTP has one answer for all, so their sender gets a notification.
        """

        trace, octets, sha256 = _parted(incoming)
        large = len(octets) > LARGE
        if sha256 is None:
            sha256 = await asyncio.to_thread(_sha256, octets) if large else _sha256(octets)
        local = any(self.is_local(recipient.address) for recipient in incoming.envelope.recipients)
        shown = without_return_path(octets) if local else octets

        def take_in(tx: Tx) -> Mapping[str, Reply]:
            journey_id = self._journey_in(tx, incoming)
            message = Message(
                incoming.envelope, trace, octets, incoming.queue_id, journey_id, shown, sha256, incoming.clean
            )
            refused = self._placing.refusals_in(tx, message)
            if len(refused) < len(incoming.envelope.recipients):
                self._placing.place_in(tx, message, refused, accepted=incoming.accepted, tell=not incoming.each)
            return refused

        database = self._shared.database
        if not (large or local):
            if self._shared.ends_here(incoming.envelope.recipients[0].address):
                self._shared.store.expect(octets, sha256)
            return _answer(incoming, await database.write(take_in))
        render = partial(self._shared.store.prepared, shown, sha256=sha256 if shown is octets else None)
        if not large:
            with render():
                return _answer(incoming, await database.write(take_in))
        # What takes long is done before the transaction, for which others wait.
        with await asyncio.to_thread(render) if local else _NOTHING:
            async with written_ahead(database, octets, sha256=sha256):
                return _answer(incoming, await database.write(take_in, heavy=shown is not octets))

    async def hand_over(self, envelope: Envelope, octets: bytes, *, client: str) -> tuple[Reply, str]:
        """Take a message in process, as the first listener would at the end of data: the reply and the queue id."""
        return await hand_over(envelope, octets, spec=self._entrance, context=self._context, client=client)

    def is_local(self, address: str) -> bool:
        """Whether mail for the address ends here."""
        return self.spec.accepts == "any" or domain_of(address) in (self.spec.domain, "")

    async def aclose(self) -> None:
        """Stop listening; the queue is closed by itself."""
        await asyncio.gather(*(listener.aclose() for listener in self.listeners))

    def _check_sender(self, address: str) -> Reply | None:
        zone = self.routes.zone
        found = zone.look_up(domain_of(address)) if zone else None
        if isinstance(found, Found) and found.entry.takes_no_mail:
            # RFC 7505 §4.2: who takes no mail can not be told of anything either.
            return reply(550, "5.7.27", f"<{address[:100]}>: the domain takes no mail, null MX (RFC 7505 §4.2)")
        return None

    def _members(self, address: str) -> Sequence[str] | None:
        alias = self._aliases.find(address)
        return None if alias is None else alias.members

    def _check_recipient(self, address: str) -> Reply | None:
        if self._aliases and self._aliases.find(address) is not None:
            loop = self._aliases.loop(address)
            return None if loop is None else reply(554, "5.4.6", f"Alias loop: {loop} (RFC 5321 §6.3)")
        if self.is_local(address) and not self._exists(address):
            return reply(550, "5.1.1", f"No such mailbox here: <{address}>")
        return None

    def _exists(self, address: str) -> bool:
        # RFC 5321 §4.5.1: mail for postmaster is taken whoever else is there.
        if self._shared.credentials.may_exist(address):
            return True
        return canonical(address) == canonical(f"postmaster@{self.spec.domain}")

    def _journey_in(self, tx: Tx, incoming: Incoming) -> JourneyId:
        """The journey this message is on already, by the ids in its Received fields; else its own begins here."""
        for _, queue_id in received_ids(incoming.received):
            if (known := self._shared.ledger.find_in(tx, queue_id)) is not None:
                return known
        return JourneyId(incoming.queue_id)

    def _hand_over_in(self, tx: Tx, envelope: Envelope, octets: bytes, queue_id: str) -> None:
        """A message that the site itself made (a delivery status notification) goes the normal path."""
        message = Message(envelope, b"", octets, queue_id, JourneyId(queue_id), octets)
        self._placing.place_in(tx, message, self._placing.refusals_in(tx, message))


def _parted(incoming: Incoming) -> tuple[bytes, bytes, bytes | None]:
    """The trace with that of earlier servers, the octets behind it, and their sha256 where it is known.

    So a message that has crossed several sites of one store has the same content at each, which is stored once.
    """
    octets, known = incoming.octets, incoming.known
    earlier = leading_received(octets)
    if known is not None and len(known.octets) == len(octets) - earlier:
        return incoming.trace + octets[:earlier], known.octets, known.sha256
    if not earlier:
        return incoming.trace, octets, bytes.fromhex(incoming.accepted.sha256)
    return incoming.trace + octets[:earlier], octets[earlier:], None


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _answer(incoming: Incoming, refused: Mapping[str, Reply]) -> Reply | EachReply:
    """What the client is told: all or nothing, but by LMTP to each recipient on its own."""
    if incoming.each:
        return EachReply({address: refused.get(address, incoming.reply) for address in incoming.envelope.addresses})
    if len(refused) == len(incoming.envelope.recipients):
        # RFC 5321 §4.2.5: nobody's copy was taken. While some may be taken later, all may be sent again.
        return min(refused.values(), key=lambda answer: answer.permanent)
    return incoming.reply


def listener_specs(spec: SiteSpec, host: str) -> list[ListenerSpec]:
    """The listeners that a site's configuration asks for, its first SMTP listener first."""
    common = _listener_spec(spec, host)
    listeners = []
    if spec.smtp is not None:
        # RFC 5321 servers take mail for their domain from anyone: AUTH is never required between servers.
        auth = Authentication.OFFERED if spec.auth == "required" else common.authentication
        listeners.append(replace(common, port=spec.smtp, authentication=auth))
    for kind, port in ((Kind.SUBMISSION, spec.submission), (Kind.SUBMISSIONS, spec.submissions)):
        if port is not None:
            offers = Offers.parse(spec.submission_offers)
            service = f"{spec.name}.{kind}"
            listeners.append(replace(common, service=service, kind=kind, port=port, offers=offers, greylist=0.0))
    if isinstance(spec.lmtp, str):
        listeners.append(replace(common, service=f"{spec.name}.lmtp", kind=Kind.LMTP, socket=spec.lmtp, greylist=0.0))
    elif spec.lmtp is not None:
        listeners.append(replace(common, service=f"{spec.name}.lmtp", kind=Kind.LMTP, port=spec.lmtp, greylist=0.0))
    for one in spec.listeners:
        own = _listener_spec(one.settings, host)
        service = f"{spec.name}.{one.name}"
        listeners.append(replace(own, service=service, kind=Kind(one.kind), port=one.port or 0, socket=one.socket))
    return listeners


def _listener_spec(spec: SiteSpec, host: str) -> ListenerSpec:
    return ListenerSpec(
        service=f"{spec.name}.smtp",
        site=spec.name,
        domain=spec.domain,
        hostname=spec.hostname,
        host=host,
        offers=Offers.parse(spec.offers),
        mode=spec.receive,
        limits=Limits(
            recipients=spec.max_recipients,
            connections=spec.max_connections,
            connections_per_peer=spec.max_connections_per_peer,
            messages=spec.max_messages,
            errors=spec.max_errors,
            command_seconds=spec.command_time,
            message_seconds=spec.message_time,
            greeting_delay=spec.greeting_delay,
        ),
        authentication=Authentication(spec.auth),
        mechanisms=None if spec.mechanisms is None else frozenset(spec.mechanisms),
        auth_needs_tls=spec.auth_needs_tls,
        tls_required=spec.tls_required,
        enhanced_codes=spec.enhanced_codes,
        verify=spec.vrfy,
        expand=spec.expn,
        check_sender=spec.check_sender,
        greylist=spec.greylist or 0.0,
        xclient_peers=spec.trusted_peers,
        proxy_peers=spec.proxy_peers,
    )
