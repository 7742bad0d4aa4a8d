"""The sites, their links, one clock, one store, and the servers by which the mail is read.

Invariant: `start` either brings up every service or raises StartError with nothing left running; `aclose` may be called
at any time and again. Knows no loop policy, thread or signal: that is `runtime`.
"""

import asyncio
import contextlib
import itertools
import random
import secrets
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from mailsandbox.access.context import AccessContext
from mailsandbox.access.http.context import HttpContext, HttpOptions, Submission
from mailsandbox.access.http.server import HttpServer
from mailsandbox.access.imap import capabilities, personalities
from mailsandbox.access.imap.personalities import ImapOptions
from mailsandbox.access.imap.server import ImapFactory
from mailsandbox.access.pop3 import personality as pop3_manners
from mailsandbox.access.pop3.personality import Pop3Options
from mailsandbox.access.pop3.server import Pop3Factory
from mailsandbox.access.transport import Listener, Source, listen
from mailsandbox.clock import Clock, ManualClock, SystemClock
from mailsandbox.database.opening import open_database
from mailsandbox.encoding import Emulation, OnNeed, RelayPolicy, prepare
from mailsandbox.errors import ConfigError, StartError
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.message.envelope import Envelope
from mailsandbox.message.underway import Underway
from mailsandbox.notify.hub import Hub
from mailsandbox.relay.allow import Allow
from mailsandbox.relay.courier import RelayCourier
from mailsandbox.relay.routes import Route, Routes
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.relay.zone import Zone
from mailsandbox.sasl import MECHANISMS
from mailsandbox.site import Shared, Site, listener_specs
from mailsandbox.smtp.replies import reply
from mailsandbox.specs import SandboxSpec, SiteSpec
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.manual_time import keep_time
from mailsandbox.store.retention import Retention
from mailsandbox.store.store import Store
from mailsandbox.submit.spool import Memory

CLOSE_WITHIN: Final = 0.5  # seconds for connections to end by themselves


def refuse_unknown_manners(spec: SandboxSpec) -> None:
    """Capabilities and personalities that neither IMAP nor POP3 knows: what one knows the other passes over."""
    for name in sorted(spec.access.capabilities_off):
        mechanism = name.upper().removeprefix("AUTH=")
        known = mechanism in MECHANISMS if mechanism != name.upper() else capabilities.knows(name)
        if not known and name.upper() not in pop3_manners.CAPABILITIES:
            raise ConfigError(f"capabilities_off: neither IMAP nor POP3 has a capability {name!r}")
    both = personalities.PERSONALITIES.keys() | pop3_manners.PERSONALITIES.keys()
    for address, account in spec.credentials.specs.items():
        if account.personality and account.personality.lower() not in both:
            raise ConfigError(
                f"account {address}: unknown personality {account.personality!r}; known: {', '.join(sorted(both))}"
            )


class Service(NamedTuple):
    """Where a service listens: an address and a port, or the path of a UNIX socket and 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Part(Protocol):
    """What comes up with start() and goes down with aclose()."""

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...


class MailSystem:
    """A sandbox on the running event loop. Read `start`: it is the order in which everything comes up."""

    def __init__(self, spec: SandboxSpec, *, tls: ssl.SSLContext, trusted: ssl.SSLContext | None = None) -> None:
        """`tls` is the servers' context; `trusted` the relay's, for certificates that it verifies."""
        self.spec = spec
        self.clock: Clock = ManualClock() if spec.manual_clock else SystemClock()
        self.faults = Faults()
        self.sessions = SessionLog(self.clock)
        self.database = open_database(spec.database or (str(spec.data) if spec.data else ":memory:"))
        self.store = Store(self.database, clock=self.clock, quota=self._quota)
        self.hub = Hub(self.store)
        self.ledger = JourneyLedger(self.database, self.clock)
        self.services: dict[str, Service] = {}
        self._tls = tls
        self._trusted = trusted
        self._ready = False
        self._close_within = CLOSE_WITHIN
        self._stack = contextlib.AsyncExitStack()
        self._readers: list[Listener] = []
        shared = Shared(
            database=self.database,
            store=self.store,
            ledger=self.ledger,
            credentials=spec.credentials,
            sessions=self.sessions,
            faults=self.faults,
            clock=self.clock,
            tls=tls,
            rng=random.Random(0),  # jitter, not secrets; seeded so that a test can repeat a run
            aliases=spec.aliases,
            memory=Memory(),
            underway=Underway(),
            new_id=queue_ids(),
            ends_here=lambda address: any(site.is_local(address) for site in self.sites.values()),
        )
        self._allow = Allow(spec.relay.allow)
        self.sites = {site.name: self._site(site, shared) for site in spec.sites}

    async def start(self) -> None:
        """Bring everything up. Raises StartError, with nothing left running."""
        try:
            await self._open(self.database)
            await self._open(self.store)
            await self._open(self.ledger)
            if isinstance(self.clock, ManualClock) and (self.spec.data or self.spec.database):
                await keep_time(self.clock, self.database)
            retention = Retention(self.store, self.spec.retention, self.clock)
            self._stack.push_async_callback(retention.aclose)
            retention.start()
            for site in self.sites.values():
                await self._listen_for(site)
            self._connect_sites()
            for site in self.sites.values():
                await self._open(site.queue)
            await self._serve_readers()
            await self._serve_http()
            self._ready = True
        except BaseException:
            await self.aclose(0)
            raise

    async def aclose(self, timeout: float = CLOSE_WITHIN) -> None:
        """End connections within `timeout` seconds, then everything else in the reverse order of `start`."""
        self._ready = False
        self._close_within = timeout
        await self._stack.aclose()
        self.services.clear()

    @property
    def places(self) -> dict[str, str]:
        """ "host:port" by service name, as in the ready file."""
        return {name: str(service) for name, service in self.services.items()}

    async def submit(self, envelope: Envelope, octets: bytes, *, site: str, client: str) -> Submission:
        """Hand a message over in process, through the same gate as a site's first SMTP listener."""
        entrance = self.sites.get(site or next(iter(self.sites)))
        if entrance is None:
            return Submission(reply(550, "5.1.2", f"No site {site!r} here; known: {', '.join(self.sites)}"))
        answer, queue_id = await entrance.hand_over(envelope, octets, client=client)
        if not answer.positive:
            return Submission(answer)
        return Submission(answer, str(await self.ledger.find(queue_id) or queue_id), queue_id)

    async def reset(self, account: str | None = None) -> None:
        """Empty one account; or everything: mail, queues, sessions, faults. Journeys stay, and tell what was queued."""
        if account is None:
            self.faults.clear()
            self.sessions.clear()
            for site in self.sites.values():
                await site.queue.reset()
        await self.store.reset(account)

    def _quota(self, address: str) -> int | None:
        account = self.spec.credentials.spec(address)
        return account.quota if account else None

    def _site(self, spec: SiteSpec, shared: Shared) -> Site:
        relay = self.spec.relay
        routes = Routes(zone=Zone.parse(self.spec.zone), own=[spec.hostname], rng=shared.rng)
        courier = RelayCourier(
            site=spec.name,
            helo=spec.hostname,
            routes=routes,
            allow=self._allow,
            tls=TlsPolicy(relay.tls, self._trusted),
            prepare=prepare,
            policy=RelayPolicy(
                emulate=Emulation(spec.emulate),
                host=spec.hostname,
                break_signatures=relay.break_signatures,
                unlabelled=OnNeed(relay.unlabelled),
            ),
            faults=self.faults,
            clock=self.clock,
            sessions=self.sessions,
        )
        limits = QueueLimits(concurrency=relay.concurrency, initial_concurrency=min(5, relay.concurrency))
        return Site(spec, shared, host=self.spec.host, routes=routes, courier=courier, retry=relay.retry, limits=limits)

    async def _open(self, part: _Part) -> None:
        self._stack.push_async_callback(part.aclose)
        await part.start()

    async def _listen_for(self, site: Site) -> None:
        for listener in site.listeners:
            await self._open(listener)
            self.services[listener.spec.service] = Service(listener.host, listener.port)
            self._allow.own.add((listener.host, listener.port))

    def _connect_sites(self) -> None:
        """Each site knows the others by their domains; the default route takes what nobody knows."""
        moved = self._moved()
        for site in self.sites.values():
            site.routes.moved = moved
            links = [self._route_to(other, other.spec.domain) for other in self.sites.values() if other is not site]
            site.routes.static = [*self.spec.routes, *(link for link in links if link is not None)]
            default = self.sites.get(self.spec.relay.default_route)
            if default is None:
                known = ", ".join(self.sites)
                raise ConfigError(f"relay.default_route: no site {self.spec.relay.default_route!r}; known: {known}")
            if default is not site:
                site.routes.default = self._route_to(default, "*")

    def _moved(self) -> dict[int, Service]:
        """By configured port: where the listener is that took a free one instead."""
        taken = {service.port for service in self.services.values()} | {0}  # a free port may be one that is configured
        specs = (listener for site in self.spec.configured for listener in listener_specs(site, self.spec.host))
        return {one.port: self.services[one.service] for one in specs if one.port not in taken}

    def _route_to(self, site: Site, domain: str) -> Route | None:
        service = self.services.get(f"{site.spec.name}.smtp")
        return Route(domain, service.host, service.port) if service else None

    async def _serve_readers(self) -> None:
        access = self.spec.access
        refuse_unknown_manners(self.spec)
        context = AccessContext(
            store=self.store,
            hub=self.hub,
            credentials=self.spec.credentials,
            clock=self.clock,
            sessions=self.sessions,
            ledger=self.ledger,
            faults=self.faults,
            tls=self._tls,
            hostname=self.spec.sites[-1].hostname,
        )
        pop3 = Pop3Options(delete=access.pop3_delete, capabilities_off=access.capabilities_off)
        imap = ImapOptions(capabilities_off=access.capabilities_off, append_limit=access.append_limit)
        services = (
            ("pop3", access.pop3, Pop3Factory(context, "pop3", options=pop3), None),
            ("pop3s", access.pop3s, Pop3Factory(context, "pop3s", options=pop3), self._tls),
            ("imap", access.imap, ImapFactory(context, "imap", options=imap), None),
            ("imaps", access.imaps, ImapFactory(context, "imaps", options=imap), self._tls),
        )
        for _, _, factory, _ in services:
            self._stack.push_async_callback(factory.aclose)
        self._stack.push_async_callback(self._close_readers)
        for name, port, factory, tls in services:
            if port is not None:
                await self._listen(name, port, factory, tls)

    async def _listen(self, name: str, port: int, factory: Source, tls: ssl.SSLContext | None) -> None:
        try:
            listener = await listen(factory, self.spec.host, port, tls=tls)
        except StartError as error:
            raise StartError(f"{name}: {error}") from None
        self._readers.append(listener)
        self.services[name] = Service(listener.host, listener.port)

    async def _close_readers(self) -> None:
        """All at once: each may wait for its clients to take their farewell."""
        await asyncio.gather(*(listener.aclose(self._close_within) for listener in self._readers))

    async def _serve_http(self) -> None:
        if self.spec.access.http is None:
            return
        context = HttpContext(
            store=self.store,
            hub=self.hub,
            credentials=self.spec.credentials,
            clock=self.clock,
            sessions=self.sessions,
            ledger=self.ledger,
            faults=self.faults,
            submit=self.submit,
            reset=self.reset,
            queues={name: site.queue for name, site in self.sites.items()},
            ready=lambda: self._ready,
            options=HttpOptions(hosts=self.spec.access.hosts),
        )
        self._stack.callback(self.hub.stop)
        server = HttpServer(context, self.spec.host, self.spec.access.http)
        await self._open(server)
        self.services["http"] = Service(server.host, server.port)
        context.services = self.places  # its own with them


def queue_ids() -> Callable[[], str]:
    """Ids that no other process on the same store gives: a random beginning, then a count."""
    prefix, numbers = secrets.token_hex(4).upper(), itertools.count(1)
    return lambda: f"{prefix}{next(numbers):05X}"
