"""Everything that can be configured, as typed values: `config` fills them, `site` and `sandbox` read them.

Units: seconds and octets. Ports: None is off, 0 is any free one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mailsandbox.deliver.aliases import Alias
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.relay.routes import Route
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.retention import RetentionPolicy

DEFAULT_OFFERS: Final = (
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "SIZE 26214400",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
)
# STARTTLS is for the doors that people configure: a program that finds it on its first try at port 1025 goes for it by
# itself (nodemailer, aiosmtplib) and then refuses a certificate that it has never heard of.
DEFAULT_SUBMISSION_OFFERS: Final = (*DEFAULT_OFFERS, "STARTTLS")


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """What one site is. Ports: None is off, 0 is any free one.

    `accepts` "local": only its own domain is local, the rest is relayed; "any": every domain is local.
    `receive` is the receive gate's mode, `emulate` the relay gate's manner; `greylist` the delay in seconds.
    """

    name: str
    domain: str
    accepts: str = "local"
    receive: str = "lenient"
    emulate: str = "strict"
    offers: tuple[str, ...] = DEFAULT_OFFERS
    submission_offers: tuple[str, ...] = DEFAULT_SUBMISSION_OFFERS
    smtp: int | None = None
    submission: int | None = None
    submissions: int | None = None
    lmtp: int | str | None = None
    auth: str = "offered"
    greylist: float | None = None
    trusted_peers: tuple[str, ...] = ()  # networks that may use XCLIENT
    proxy_peers: tuple[str, ...] = ()  # networks whose connections begin with a PROXY header
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_peer: int = 1000  # 0: any number
    max_messages: int = 0  # in one session; 0: any number
    max_errors: int = 100
    command_time: float = 300.0  # seconds between two reads
    message_time: float = 3600.0  # seconds from DATA to its end
    greeting_delay: float = 0.0  # seconds in which a client that talks first is found out
    mechanisms: tuple[str, ...] | None = None  # of AUTH; None: all that the accounts allow
    auth_needs_tls: bool = False  # 538 without TLS
    tls_required: bool = False  # 530 to MAIL without TLS
    enhanced_codes: bool = True
    vrfy: bool = True
    expn: bool = True
    check_sender: bool = True  # submission: the reverse-path is the login's own
    listeners: "tuple[NamedListener, ...]" = ()

    @property
    def hostname(self) -> str:
        """The name it greets with and puts into Received."""
        return self.domain


@dataclass(frozen=True, slots=True)
class NamedListener:
    """One more listener of a site: a port, or a UNIX socket by its path. `settings`: the site's, as it differs."""

    name: str
    settings: SiteSpec
    kind: str = "smtp"  # smtp | submission | submissions | lmtp
    port: int | None = None
    socket: str = ""


@dataclass(frozen=True, slots=True)
class RelaySpec:
    """How every site's relay connects and converts. `default_route` names the site that takes unknown domains."""

    tls: str = "opportunistic"
    allow: tuple[str, ...] = ("127.0.0.0/8",)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    concurrency: int = 50
    break_signatures: bool = False
    unlabelled: str = "convert"
    default_route: str = "beta"


@dataclass(frozen=True, slots=True)
class AccessSpec:
    """The servers that read. Ports: None is off, 0 is any free one; `append_limit` in octets."""

    pop3: int | None = 1110
    pop3s: int | None = 1995
    imap: int | None = 1143
    imaps: int | None = 1993
    http: int | None = 8025
    capabilities_off: frozenset[str] = frozenset()
    pop3_delete: bool = True
    append_limit: int = 50_000_000
    hosts: frozenset[str] = frozenset()  # names besides localhost and addresses by which the HTTP API is reached


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """The user's own certificate chain and key, PEM."""

    certificate: Path
    key: Path


DEFAULT_SITES = (
    SiteSpec(name="alpha", domain="alpha.test", smtp=1025, submission=1587, submissions=1465),
    SiteSpec(
        name="beta",
        domain="beta.test",
        accepts="any",
        receive="strict",
        offers=("PIPELINING", "SIZE 26214400"),
        submission_offers=("PIPELINING", "SIZE 26214400"),
        auth="off",
        smtp=2025,
    ),
)


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """Everything that can be configured. `data` is a directory, `database` a PostgreSQL URL; neither: in memory."""

    sites: tuple[SiteSpec, ...] = DEFAULT_SITES
    host: str = "127.0.0.1"
    data: Path | None = None
    database: str | None = None
    manual_clock: bool = False
    credentials: Credentials = field(default_factory=Credentials)
    relay: RelaySpec = field(default_factory=RelaySpec)
    routes: tuple[Route, ...] = ()
    zone: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # checked by relay.zone.Zone.parse
    access: AccessSpec = AccessSpec()
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    tls: TlsSpec | None = None
    aliases: Mapping[str, Alias] = field(default_factory=dict)  # by address
    configured: tuple[SiteSpec, ...] = ()  # the sites with the ports that routes and zone mean, where theirs are free

    def ephemeral(self) -> "SandboxSpec":
        """The same on free ports."""
        sites = tuple(
            replace(
                site,
                smtp=_free(site.smtp),
                submission=_free(site.submission),
                submissions=_free(site.submissions),
                lmtp=_free(site.lmtp) if not isinstance(site.lmtp, str) else site.lmtp,
                listeners=tuple(replace(one, port=_free(one.port)) for one in site.listeners),
            )
            for site in self.sites
        )
        read = self.access
        access = replace(
            read,
            pop3=_free(read.pop3),
            pop3s=_free(read.pop3s),
            imap=_free(read.imap),
            imaps=_free(read.imaps),
            http=_free(read.http),
        )
        return replace(self, sites=sites, access=access, configured=self.configured or self.sites)


def _free(port: int | None) -> int | None:
    return None if port is None else 0
