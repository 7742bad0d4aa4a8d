"""The configuration file, then MAILSANDBOX_* variables, to one SandboxSpec."""

import dataclasses
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailsandbox.config.environment import override
from mailsandbox.config.sites import sites
from mailsandbox.config.source import Source, convert, convert_names, convert_value, unknown_key
from mailsandbox.config.tables import (
    TOP_LEVEL,
    AccessTable,
    AccountTable,
    ClockTable,
    ListTable,
    RelayTable,
    RetryTable,
    RouteTable,
    ServerTable,
    StoreTable,
    TlsTable,
)
from mailsandbox.config.values import address, database_url, one_of, period, port, size
from mailsandbox.deliver.aliases import Alias
from mailsandbox.errors import ConfigError
from mailsandbox.mailqueue.schedule import RetryPolicy
from mailsandbox.relay.routes import Login, Route
from mailsandbox.relay.zone import Zone
from mailsandbox.smtp.paths import check_mailbox
from mailsandbox.specs import (
    AccessSpec,
    RelaySpec,
    SandboxSpec,
    TlsSpec,
)
from mailsandbox.store.credentials import AccountSpec, Credentials, canonical
from mailsandbox.store.retention import Limits, RetentionPolicy


def load(path: Path | None = None, *, environ: Mapping[str, str] | None = None, host: str | None = None) -> SandboxSpec:
    """The specification of the sandbox from a file (None: the defaults), the environment, and the flag `--host`.

    Raises ConfigError, which names what is wrong where.
    """
    text = ""
    if path is not None:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    spec = parse(text, name=str(path or "defaults"), environ=environ)
    if host is None:
        return spec
    return dataclasses.replace(spec, host=address(Source("command line"), ("--host",), host))


def parse(text: str, *, name: str = "configuration", environ: Mapping[str, str] | None = None) -> SandboxSpec:
    """The same from text."""
    source = Source(name, text)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from None
    for key in tables:
        if key not in TOP_LEVEL:
            raise source.error((key,), unknown_key(key, TOP_LEVEL))
    source.variables = override(tables, environ or {})
    return _spec(tables, source)


def _spec(tables: dict[str, Any], source: Source) -> SandboxSpec:  # Any: parsed TOML, typed by convert
    server = convert(source, ("server",), tables, ServerTable)
    clock = convert(source, ("clock",), tables, ClockTable)
    tls = convert(source, ("tls",), tables, TlsTable)
    if bool(tls.certificate) != bool(tls.key):
        raise source.error(("tls",), "certificate and key must be given together")
    credentials = _accounts(tables, source)
    found = sites(tables, credentials, source)
    relay = _relay(tables, source)
    if relay.default_route not in (known := [site.name for site in found]):
        text = f"there is no site {relay.default_route!r}; there are {', '.join(known)}"
        raise source.error(("relay", "default_route"), text)
    return SandboxSpec(
        sites=found,
        host=address(source, ("server", "host"), server.host),
        data=Path(server.data) if server.data else None,
        database=database_url(source, ("server", "database"), server.database),
        manual_clock=one_of(source, ("clock", "mode"), clock.mode, ("system", "manual")) == "manual",
        credentials=credentials,
        relay=relay,
        routes=_routes(tables.get("routes", []), source),
        zone=_zone(tables, source),
        access=_access(convert(source, ("access",), tables, AccessTable), source),
        retention=_retention(convert(source, ("store",), tables, StoreTable), source),
        aliases=_aliases(tables, source),
        tls=TlsSpec(Path(tls.certificate), Path(tls.key)) if tls.certificate else None,
    )


# Tables of the file, one function each.


def _accounts(tables: dict[str, Any], source: Source) -> Credentials:  # Any: parsed TOML
    given = convert_names(source, ("accounts",), tables)
    specs: dict[str, AccountSpec] = {}
    any_account = given.get("any", True)
    if not isinstance(any_account, bool):
        raise source.error(("accounts", "any"), "expected true or false")
    for login in given:
        if login == "any":
            continue
        if "@" not in login:
            raise source.error(("accounts", login), 'an account is named by its address: "bob@beta.test" = {}')
        table = convert(source, ("accounts", login), tables, AccountTable)
        quota = size(source, ("accounts", login, "quota"), table.quota)
        specs[canonical(login)] = AccountSpec(table.password, quota, table.personality.lower())
    return Credentials(any_account=any_account, specs=specs)


def _aliases(tables: dict[str, Any], source: Source) -> dict[str, Alias]:  # Any: parsed TOML
    aliases: dict[str, Alias] = {}
    for name, value in convert_names(source, ("aliases",), tables).items():
        path = ("aliases", name)
        match value:
            case Mapping():
                table = convert_value(source, path, value, ListTable)
                alias = Alias(tuple(table.members), table.owner)
                addresses = [name, table.owner, *alias.members]
            case [*members] if all(isinstance(member, str) for member in members):
                alias = Alias(tuple(members))
                addresses = [name, *members]
            case _:
                raise source.error(path, 'write ["a@beta.test", ...] or { members = [...], owner = "c@beta.test" }')
        if not alias.members:
            raise source.error(path, "an alias needs a member at least")
        for wrong in (one for one in addresses if "@" not in one or check_mailbox(one) is not None):
            raise source.error(path, f"{wrong!r} is not an address like team@beta.test")
        aliases[canonical(name)] = alias
    return aliases


def _relay(tables: dict[str, Any], source: Source) -> RelaySpec:  # Any: parsed TOML
    table = convert(source, ("relay",), tables, RelayTable)
    for network in table.allow:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise source.error(("relay", "allow"), f"{error}: write a network like 127.0.0.0/8") from None
    return RelaySpec(
        tls=one_of(source, ("relay", "tls"), table.tls, ("off", "opportunistic", "required", "verified")),
        allow=tuple(table.allow),
        retry=_retry(tables, source),
        concurrency=_positive(source, ("relay", "concurrency"), table.concurrency),
        break_signatures=table.break_signatures,
        unlabelled=one_of(source, ("relay", "unlabelled"), table.unlabelled, ("convert", "bounce")),
        default_route=table.default_route,
    )


def _positive(source: Source, path: tuple[str, ...], value: int) -> int:
    if value < 1:
        raise source.error(path, f"{value} is less than one")
    return value


def _retry(tables: dict[str, Any], source: Source) -> RetryPolicy:  # Any: parsed TOML
    path = ("relay", "retry")
    table = convert(source, path, tables, RetryTable)
    try:
        return RetryPolicy(
            first=period(source, (*path, "first"), table.first),
            factor=table.factor,
            jitter=table.jitter,
            limit=period(source, (*path, "limit"), table.limit),
            lifetime=period(source, (*path, "lifetime"), table.lifetime),
            warn=period(source, (*path, "warn"), table.warn),
        )
    except ValueError as error:
        raise source.error(path, str(error)) from None


def _routes(given: object, source: Source) -> tuple[Route, ...]:
    if not isinstance(given, list):
        raise source.error(("routes",), "expected [[routes]], one table for each route")
    return tuple(_route(convert_value(source, ("routes",), table, RouteTable), source) for table in given)


def _route(table: RouteTable, source: Source) -> Route:
    login = Login(table.login.name, table.login.password) if table.login else None
    try:
        return Route(
            table.domain.lower(),
            table.host,
            table.port,
            lmtp=table.lmtp,
            tls=table.tls,
            implicit_tls=table.implicit_tls,
            login=login,
        )
    except ConfigError as error:
        raise source.error(("routes",), str(error)) from None


def _zone(tables: dict[str, Any], source: Source) -> Mapping[str, Mapping[str, object]]:  # Any: parsed TOML
    zone = convert_names(source, ("zone",), tables)
    for name, records in zone.items():
        try:
            Zone.parse({name: records})
        except ConfigError as error:
            raise source.error(("zone", name), str(error).removeprefix(f'zone."{name}"').lstrip(".: ")) from None
    return zone


def _access(table: AccessTable, source: Source) -> AccessSpec:
    for key in ("pop3", "pop3s", "imap", "imaps", "http"):
        port(source, ("access", key), getattr(table, key))
    return AccessSpec(
        pop3=table.pop3,
        pop3s=table.pop3s,
        imap=table.imap,
        imaps=table.imaps,
        http=table.http,
        capabilities_off=frozenset(name.upper() for name in table.capabilities_off),
        pop3_delete=table.pop3_delete,
        append_limit=size(source, ("access", "append_limit"), table.append_limit) or 0,
        hosts=frozenset(name.lower() for name in table.hosts),
    )


def _retention(table: StoreTable, source: Source) -> RetentionPolicy:
    def limits(which: str) -> Limits:
        given: str | None = getattr(table, f"{which}_age")
        octets = size(source, ("store", f"{which}_octets"), getattr(table, f"{which}_octets"))
        age = None if given is None else period(source, ("store", f"{which}_age"), given)
        for key, value in (("octets", octets), ("age", age)):
            if value == 0:  # nothing could stay; who wants that has `--memory` and POST /v1/reset
                raise source.error(("store", f"{which}_{key}"), "0 would keep nothing; leave it out for no limit")
        return Limits(messages=getattr(table, f"{which}_messages"), octets=octets, age=age)

    return RetentionPolicy(
        each=limits("max"),
        total=limits("total"),
        changes=table.changes_kept,
        changes_age=period(source, ("store", "changes_age"), table.changes_age),
        journey_age=period(source, ("store", "journeys_age"), table.journeys_age),
    )
