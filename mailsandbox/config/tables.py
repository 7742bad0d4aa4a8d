"""The tables of the configuration file: their fields are the keys that may be written, with their defaults."""

from typing import Annotated, Final

import msgspec

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class Table(msgspec.Struct, forbid_unknown_fields=True):
    """A table of the file: its fields are the keys that may be written."""


class ServerTable(Table):
    host: str = "127.0.0.1"
    data: str | None = None
    database: str | None = None


class ClockTable(Table):
    mode: str = "system"


class AccountTable(Table):
    password: str | None = None
    quota: str | int | None = None
    personality: str = ""


class ListenerSettings(Table):
    """What may be set for a site, and otherwise for one of its listeners."""

    receive: str | None = None
    offers: list[str] | None = None
    auth: str | None = None
    mechanisms: list[str] | None = None
    auth_needs_tls: bool | None = None
    tls_required: bool | None = None
    enhanced_codes: bool | None = None
    vrfy: bool | None = None
    expn: bool | None = None
    check_sender: bool | None = None
    greylist: str | None = None
    trusted_peers: list[str] | None = None
    proxy_peers: list[str] | None = None
    max_recipients: int | None = None
    max_connections: int | None = None
    max_connections_per_peer: int | None = None
    max_messages: int | None = None
    max_errors: int | None = None
    command_time: str | None = None
    message_time: str | None = None
    greeting_delay: str | None = None


class ListenerTable(ListenerSettings):
    kind: str = "smtp"
    port: int | None = None
    socket: str = ""


class SiteTable(ListenerSettings):
    domain: str | None = None
    accepts: str | None = None
    emulate: str | None = None
    submission_offers: list[str] | None = None
    smtp: int | None = None
    submission: int | None = None
    submissions: int | None = None
    lmtp: int | str | None = None
    listeners: dict[str, dict[str, object]] | None = None  # ListenerTables, converted one by one


class RetryTable(Table):
    first: str = "1m"
    factor: float = 2.0
    jitter: float = 0.1
    limit: str = "4h"
    lifetime: str = "5d"
    warn: str = "4h"


class RelayTable(Table):
    tls: str = "opportunistic"
    allow: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.0/8"])
    retry: dict[str, object] = msgspec.field(default_factory=dict)  # a RetryTable, converted on its own
    concurrency: AtLeastOne = 50
    break_signatures: bool = False
    unlabelled: str = "convert"
    default_route: str = "beta"


class LoginTable(Table):
    name: str
    password: str


class ListTable(Table):
    members: list[str]
    owner: str


class RouteTable(Table):
    domain: str
    host: str
    port: int = 0
    lmtp: bool = False
    tls: str = ""
    implicit_tls: bool = False
    login: LoginTable | None = None


class AccessTable(Table):
    pop3: int | None = 1110
    pop3s: int | None = 1995
    imap: int | None = 1143
    imaps: int | None = 1993
    http: int | None = 8025
    capabilities_off: list[str] = msgspec.field(default_factory=list)
    pop3_delete: bool = True
    append_limit: str | int = "50 MB"
    hosts: list[str] = msgspec.field(default_factory=list)


class StoreTable(Table):
    max_messages: AtLeastOne | None = None
    max_age: str | None = None
    max_octets: str | int | None = None
    total_messages: AtLeastOne | None = None
    total_age: str | None = None
    total_octets: str | int | None = None
    changes_kept: AtLeastOne = 100_000
    changes_age: str = "30d"
    journeys_age: str = "30d"


class TlsTable(Table):
    certificate: str = ""
    key: str = ""


TABLES: Final[dict[str, type[Table]]] = {
    "server": ServerTable,
    "clock": ClockTable,
    "relay": RelayTable,
    "access": AccessTable,
    "store": StoreTable,
    "tls": TlsTable,
}
TOP_LEVEL: Final = (*TABLES, "sites", "zone", "accounts", "aliases", "routes")
