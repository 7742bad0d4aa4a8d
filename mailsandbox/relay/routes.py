"""Where a recipient's mail goes: static routes, the simulated DNS zone, the default route - in this order.

Invariants: the hops are in the order in which they are to be tried (RFC 5321 §5.1); this site itself is never among
them, nor what its own MX preference says is no nearer. Asks nobody outside; does not judge whether a hop may be
connected to (that is `allow`).
"""

import ipaddress
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from mailsandbox.errors import ConfigError
from mailsandbox.message.envelope import domain_of
from mailsandbox.relay.zone import (
    SMTP_PORT,
    Entry,
    Found,
    LookupFailed,
    MtaSts,
    NoSuchName,
    TlsaRecord,
    Zone,
    canonical,
)
from mailsandbox.smtp.replies import Reply, reply

MAX_HOPS: Final = 10  # tried in one attempt; RFC 5321 §5.1 asks for at least two, Postfix stops at 5 addresses
MAX_FIXED: Final = 1_000  # routes remembered


@dataclass(frozen=True, slots=True)
class Login:
    """What the relay says to AUTH at a hop."""

    name: str
    password: str = field(repr=False)


class Hop(msgspec.Struct, frozen=True):
    """One server to try: its name, and where it listens.

    `address` is an IP address, or the path of a UNIX socket with port 0. `tls` is "" where the relay's own policy
    holds, else "off", "opportunistic", "required" or "verified"; `implicit_tls`: TLS from the first octet.
    `tlsa_failed`: its TLSA records can not be had (RFC 7672 §2.1.2).
    """

    host: str
    address: str
    port: int
    lmtp: bool = False
    tls: str = ""
    implicit_tls: bool = False
    login: Login | None = None
    tlsa: tuple[TlsaRecord, ...] = ()
    tlsa_failed: bool = False
    domain: str = ""  # whose mail it takes, where it was found as an exchanger with TLSA records

    @property
    def place(self) -> str:
        """As shown: "127.0.0.1:2025"."""
        if not self.port:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Route(msgspec.Struct, frozen=True):
    """Mail for `domain` goes there. "*.example.test" meets every domain below it, "*" all.

    `host`: an IP address, a name of the zone, "localhost", or another name, which the system then resolves; or
    "unix:/path". `port` 0 asks the zone for it.
    """

    domain: str
    host: str
    port: int = 0
    lmtp: bool = False
    tls: str = ""
    implicit_tls: bool = False
    login: Login | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not self.domain or not self.host:
            raise ConfigError("a route needs domain and host")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"route for {self.domain}: port = {self.port}; right would be a number from 1 to 65535")
        if self.tls not in TLS_LEVELS:
            raise ConfigError(
                f'route for {self.domain}: tls = "{self.tls}"; right would be off, opportunistic, required or verified'
            )

    def fits(self, domain: str) -> bool:
        """Whether it is meant for this domain."""
        if self.domain.startswith("*."):
            return domain.endswith(canonical(self.domain[1:]))
        return self.domain == "*" or canonical(self.domain) == domain


TLS_LEVELS: Final = ("", "off", "opportunistic", "required", "verified")


@dataclass(frozen=True, slots=True)
class Hops:
    """Servers in the order in which they are to be tried. `to_resolve`: a name that the system must look up first.

    `proven` is False where they are named by MX records without DNSSEC.
    """

    hops: tuple[Hop, ...]
    to_resolve: str = ""
    mta_sts: MtaSts | None = None
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Unroutable:
    """There is nowhere to go: for good (5yz), or for now (4yz)."""

    reply: Reply


class Routes:
    """The routes of one site. `own`: its own host names, for which no mail is relayed (loop).

    What is given may be changed until the queue starts: ports are known only when all sites listen.
    """

    def __init__(
        self,
        *,
        static: Sequence[Route] = (),
        zone: Zone | None = None,
        default: Route | None = None,
        own: Iterable[str] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.static = list(static)
        self.zone = Zone() if zone is None else zone
        self.default = default
        self.own = {canonical(name) for name in own}
        self.moved: Mapping[int, tuple[str, int]] = {}  # by configured port: where that listener is instead
        self._fixed: dict[Route, Hops] = {}  # of routes that need no lookup: asked for each message
        self._rng = rng or random.Random(0)  # a sandbox without a seed of its own still repeats itself

    def key(self, address: str) -> str:
        """What recipients of one transaction have in common: the route, or the domain where each has its own MX."""
        domain = canonical(domain_of(address))
        route = self._route(domain)
        if route is None:
            return domain
        return f"{'lmtp:' if route.lmtp else ''}{route.host}:{route.port}"

    def resolve(self, address: str) -> Hops | Unroutable:
        """The hops for one recipient's address."""
        domain = canonical(domain_of(address))
        if (route := self._route(domain)) is not None:
            return self._of_route(route)
        if domain.startswith("["):
            return _of_literal(domain)
        return self._of_domain(domain)

    def placed(self, hop: Hop) -> Hop:
        """The same hop, where it listens now: a listener of the sandbox may have taken a free port instead of its own.

        Who took the configured one is another sandbox, and mail for it would leave this one.
        """
        host, port = self.moved.get(hop.port, ("", 0))
        return msgspec.structs.replace(hop, port=port) if host and _reaches(hop.address, host) else hop

    def _route(self, domain: str) -> Route | None:
        for route in self.static:
            if route.fits(domain):
                return route
        # A name of the zone is looked up there; the default route takes what nobody knows.
        return None if domain in self.zone or domain.startswith("[") else self.default

    def _of_route(self, route: Route) -> Hops | Unroutable:
        if (fixed := self._fixed.get(route)) is not None:
            return fixed
        if (hops := _without_lookup(route)) is not None:
            if len(self._fixed) > MAX_FIXED:
                self._fixed.clear()
            self._fixed[route] = hops
            return hops
        match self.zone.look_up(route.host):
            case Found(name, entry) if entry.addresses:
                port = route.port or entry.port
                return Hops(tuple(_hop(route, name, address, port, entry) for address in entry.addresses))
            case Found() | NoSuchName():
                return Hops((_hop(route, route.host, "", route.port or SMTP_PORT),), to_resolve=route.host)
            case LookupFailed(why):
                return Unroutable(reply(451, "4.4.3", why))

    def _of_domain(self, domain: str) -> Hops | Unroutable:
        match self.zone.look_up(domain):
            case NoSuchName():
                # RFC 3463 §3.2: bad destination system address.
                return Unroutable(reply(550, "5.1.2", f"the domain {domain or '(none)'} does not exist (NXDOMAIN)"))
            case LookupFailed(why):
                return Unroutable(reply(451, "4.4.3", why))
            case Found(name, entry):
                return self._of_entry(domain, name, entry)

    def _of_entry(self, domain: str, name: str, entry: Entry) -> Hops | Unroutable:
        if entry.takes_no_mail:
            return Unroutable(reply(556, "5.1.10", f"the domain {domain} takes no mail (null MX)"))
        if not entry.mx:
            # RFC 5321 §5.1: without MX, the address of the domain itself is its only MX, with preference 0.
            if name in self.own:
                return _loop(domain)
            return self._exchangers([name], domain, entry.mta_sts)
        hosts = self._ordered(entry)
        found = self._exchangers(hosts, domain, entry.mta_sts) if hosts else _loop(domain)
        return replace(found, proven=entry.signed) if isinstance(found, Hops) else found

    def _ordered(self, entry: Entry) -> list[str]:
        """Exchangers by preference, those of equal preference shuffled, cut before this site (RFC 5321 §5.1)."""
        records = [record for record in entry.mx if record.host]
        ours = [record.preference for record in records if record.host in self.own]
        if ours:
            # RFC 5321 §5.1: records of our own preference or worse MUST be discarded.
            records = [record for record in records if record.preference < min(ours)]
        hosts: list[str] = []
        for _, group in itertools.groupby(sorted(records, key=lambda one: one.preference), lambda one: one.preference):
            equal = [record.host for record in group]
            self._rng.shuffle(equal)
            hosts.extend(equal)
        return hosts

    def _exchangers(self, hosts: Sequence[str], domain: str, mta_sts: MtaSts | None) -> Hops | Unroutable:
        hops: list[Hop] = []
        failures: list[str] = []
        for host in hosts:
            if _literal(host):
                hops.append(Hop(host, _literal(host), SMTP_PORT))
                continue
            match self.zone.look_up(host):
                case Found(_, entry):
                    hops.extend(_exchanger(host, address, entry, domain) for address in entry.addresses)
                case LookupFailed(why):
                    failures.append(why)
                case NoSuchName():
                    pass
        if hops:
            return Hops(tuple(hops[:MAX_HOPS]), mta_sts=mta_sts)
        if failures:
            return Unroutable(reply(451, "4.4.3", failures[0]))
        # RFC 3463 §3.5: unable to route. RFC 5321 §5.1: MX records without a usable address are an error.
        return Unroutable(reply(550, "5.4.4", f"no mail server of {domain} has an address"))


def _without_lookup(route: Route) -> Hops | None:
    """The hop of a route to an address, to localhost or to a socket; None where a name must be looked up."""
    if route.host.startswith("unix:"):
        return Hops((_hop(route, "localhost", route.host.removeprefix("unix:"), 0),))
    address = "127.0.0.1" if route.host.lower() == "localhost" else _literal(route.host.strip("[]"))
    return Hops((_hop(route, route.host, address, route.port or SMTP_PORT),)) if address else None


def _hop(route: Route, host: str, address: str, port: int, entry: Entry | None = None) -> Hop:
    tlsa = entry.tlsa if entry else ()
    return Hop(host, address, port, route.lmtp, route.tls, route.implicit_tls, route.login, tlsa)


def _exchanger(host: str, address: str, entry: Entry, domain: str) -> Hop:
    # Only where certificates may name it: else one connection to a server does for all its domains.
    domain = domain if entry.tlsa else ""
    return Hop(host, address, entry.port, tlsa=entry.tlsa, tlsa_failed=entry.tlsa_failed, domain=domain)


def _of_literal(domain: str) -> Hops | Unroutable:
    """An address literal (RFC 5321 §4.1.3): the server itself, without MX."""
    address = _literal(domain.strip("[]").removeprefix("ipv6:"))
    if not domain.endswith("]") or not address:
        return Unroutable(reply(550, "5.1.2", f"{domain} is no address literal that can be connected to"))
    return Hops((Hop(domain, address, SMTP_PORT),))


def _literal(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def _reaches(address: str, bound: str) -> bool:
    """Whether a connection to the address meets what is bound there: to it, or to every address ("0.0.0.0", "::")."""
    if address == bound:
        return True
    ip, to = ipaddress.ip_address(address), ipaddress.ip_address(bound)
    return to.is_unspecified and ip.is_loopback and ip.version == to.version


def _loop(domain: str) -> Unroutable:
    # RFC 5321 §5.1: an empty list after removing ourselves is an error: mail for the domain loops back to us.
    return Unroutable(reply(554, "5.4.6", f"mail for {domain} loops back to this host"))
