"""One simulated mail server (an ADMD, RFC 5598 §2.3): the stations of a message's path, joined.

    listeners (submit) -- judged, with its trace --> accept -+- local recipients --> store --> change log --> readers
                                                             +- other recipients --> queue --> relay --> next site
                                                                   +- failed, delayed --> notifier --> accept

Invariant: `accept` answers 250 only when one transaction has stored every local copy, queued every other recipient and
written the journey. No protocol logic here: what a station does is in its package.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mailsandbox.clock import Clock
from mailsandbox.database.tx import Database, Tx
from mailsandbox.deliver.local import deliveries, without_return_path
from mailsandbox.deliver.notifier import Notifier
from mailsandbox.faults import Faults
from mailsandbox.journey.model import Delivered, JourneyId
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.model import Action, NewItem, QueuedItem, RecipientReport
from mailsandbox.mailqueue.runner import Queue
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.message.envelope import Envelope, Recipient, domain_of
from mailsandbox.message.trace import parse_received_ids
from mailsandbox.relay.courier import RelayCourier
from mailsandbox.relay.routes import Routes
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.specs import SiteSpec
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.model import Landed
from mailsandbox.store.store import Store
from mailsandbox.submit.handover import hand_over
from mailsandbox.submit.listener import SmtpListener
from mailsandbox.submit.model import Authentication, Incoming, Kind, Limits, ListenerSpec, SubmitContext
from mailsandbox.submit.spool import Memory
from mailsandbox.tasks import Tasks


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
    memory: Memory  # bounds what all listeners hold of messages being received
    new_id: Callable[[], str]


class Site:
    """One site's stations. Listeners are started first; the queue runs once the routes between sites are known."""

    def __init__(
        self, spec: SiteSpec, shared: Shared, *, host: str, routes: Routes, courier: RelayCourier, retry: RetryPolicy
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
        self._tasks = Tasks()
        self.queue = Queue(
            shared.database,
            site=spec.name,
            courier=courier,
            retry=retry,
            clock=shared.clock,
            rng=shared.rng,
            record=shared.ledger.append_in,
            notify=self._notifier.notices,
        )
        self._context = SubmitContext(
            accept=self.accept,
            new_id=shared.new_id,
            check_recipient=self._check_recipient,
            credentials=shared.credentials,
            sessions=shared.sessions,
            faults=shared.faults,
            clock=shared.clock,
            tls=shared.tls,
            memory=shared.memory,
            run_queue=self._run_queue,
        )
        self.listeners = [SmtpListener(listener, self._context) for listener in listener_specs(spec, host)]

    async def accept(self, incoming: Incoming) -> Reply:
        """Make one message durable, everywhere it belongs, and take responsibility for it (RFC 5321 §6.1)."""

        def take_in(tx: Tx) -> None:
            journey_id = self._journey_in(tx, incoming)
            self._shared.ledger.append_in(tx, journey_id, incoming.accepted)
            self._place_in(tx, incoming.envelope, incoming.trace, incoming.octets, incoming.queue_id, journey_id)

        if any(self.is_local(recipient.address) for recipient in incoming.envelope.recipients):
            self._shared.store.prepare(without_return_path(incoming.octets))
        await self._shared.database.write(take_in)
        return incoming.reply

    async def hand_over(self, envelope: Envelope, octets: bytes, *, client: str) -> tuple[Reply, str]:
        """Take a message in process, as the first listener would at the end of data: the reply and the queue id."""
        return await hand_over(envelope, octets, spec=self.listeners[0].spec, context=self._context, client=client)

    def is_local(self, address: str) -> bool:
        """Whether mail for the address ends here."""
        return self.spec.accepts == "any" or domain_of(address) in (self.spec.domain, "")

    async def aclose(self) -> None:
        """Stop listening; the queue is closed by itself."""
        await asyncio.gather(*(listener.aclose() for listener in self.listeners))
        await self._tasks.aclose()

    def _run_queue(self, domain: str) -> bool:
        """ETRN (RFC 1985): try what waits for the domain now."""
        self._tasks.spawn(self.queue.run(domain=domain), name=f"ETRN {domain} at {self.spec.name}")
        return True

    def _check_recipient(self, address: str) -> Reply | None:
        if self.is_local(address) and not self._shared.credentials.may_exist(address):
            return reply(550, "5.1.1", f"No such mailbox here: <{address}>")
        return None

    def _journey_in(self, tx: Tx, incoming: Incoming) -> JourneyId:
        """The journey this message is on already, by the ids in its Received fields; else its own begins here."""
        for _, queue_id in parse_received_ids(incoming.octets):
            if (known := self._shared.ledger.find_in(tx, queue_id)) is not None:
                return known
        return JourneyId(incoming.queue_id)

    def _hand_over_in(self, tx: Tx, envelope: Envelope, octets: bytes, queue_id: str) -> None:
        """A message that the site itself made (a delivery status notification) goes the normal path."""
        self._place_in(tx, envelope, b"", octets, queue_id, JourneyId(queue_id))

    def _place_in(
        self, tx: Tx, envelope: Envelope, trace: bytes, octets: bytes, queue_id: str, journey_id: JourneyId
    ) -> None:
        """Every recipient to where it belongs: the store, or the queue."""
        local = [recipient for recipient in envelope.recipients if self.is_local(recipient.address)]
        remote = tuple(recipient for recipient in envelope.recipients if not self.is_local(recipient.address))
        now = self._shared.clock.now()
        if local:
            self._deliver_in(tx, envelope, local, trace, octets, journey_id)
            self._tell_delivered(tx, envelope, local, trace + octets, queue_id, journey_id)
        if remote:
            onward = replace(envelope, recipients=remote)
            self.queue.enqueue_in(tx, NewItem(queue_id, journey_id, onward, trace + octets, now))

    def _deliver_in(
        self,
        tx: Tx,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        trace: bytes,
        octets: bytes,
        journey_id: JourneyId,
    ) -> None:
        copies = deliveries(envelope, recipients, trace=trace)
        octets = without_return_path(octets)
        now = self._shared.clock.now()
        for landed in self._shared.store.deliver_in(tx, copies, octets, journey_id=journey_id, now=now):
            self._shared.ledger.append_in(tx, journey_id, _delivered(self.spec.name, landed))

    def _tell_delivered(
        self,
        tx: Tx,
        envelope: Envelope,
        recipients: Sequence[Recipient],
        octets: bytes,
        queue_id: str,
        journey_id: JourneyId,
    ) -> None:
        """RFC 3461 §5.2.3: NOTIFY=SUCCESS is answered once the copy lies in the mailbox."""
        wanted = [recipient for recipient in recipients if "SUCCESS" in recipient.notify]
        if not wanted:
            return
        now = self._shared.clock.now()
        done = reply(250, "2.1.5", "Delivered to the mailbox")
        item = QueuedItem(queue_id, journey_id, self.spec.name, envelope, now, len(octets), False, ())
        reports = [RecipientReport(one, Action.DELIVERED, done.enhanced, done, "", now) for one in wanted]
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


def listener_specs(spec: SiteSpec, host: str) -> list[ListenerSpec]:
    """The listeners that a site's configuration asks for, its first SMTP listener first."""
    common = ListenerSpec(
        service=f"{spec.name}.smtp",
        site=spec.name,
        domain=spec.domain,
        hostname=spec.hostname,
        host=host,
        offers=Offers.parse(spec.offers),
        mode=spec.receive,
        limits=Limits(recipients=spec.max_recipients, connections=spec.max_connections),
        authentication=Authentication(spec.auth),
        greylist=spec.greylist or 0.0,
        xclient_peers=spec.trusted_peers,
        proxy_peers=spec.proxy_peers,
    )
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
    return listeners
