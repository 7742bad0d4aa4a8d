"""The tables of sites and of their listeners to SiteSpecs."""

import dataclasses
import difflib
import ipaddress
from typing import Any, Final

import msgspec

from mailsandbox.config.contradictions import refuse_contradictions, refuse_idle_check
from mailsandbox.config.source import Source, convert, convert_names, convert_value
from mailsandbox.config.tables import ListenerSettings, ListenerTable, SiteTable
from mailsandbox.config.values import one_of, period, port
from mailsandbox.sasl import MECHANISMS
from mailsandbox.specs import DEFAULT_SITES, NamedListener, SiteSpec
from mailsandbox.store.credentials import Credentials

KINDS: Final = ("smtp", "submission", "submissions", "lmtp")
# Keywords of EHLO, and whether a number may follow. Others are listed to clients as they are where they begin with X.
OFFERS: Final = {
    "PIPELINING": False,
    "SIZE": True,
    "8BITMIME": False,
    "SMTPUTF8": False,
    "CHUNKING": False,
    "BINARYMIME": False,
    "DSN": False,
    "STARTTLS": False,
    "LIMITS": False,
    "REQUIRETLS": False,
    "DELIVERBY": True,
    "ETRN": False,
}
_ELSEWHERE: Final = {
    "AUTH": 'write auth = "off" | "offered" | "required"',
    "ENHANCEDSTATUSCODES": "write enhanced_codes = true | false",
    "XCLIENT": "write trusted_peers = [...]",
}


def sites(tables: dict[str, Any], credentials: Credentials, source: Source) -> tuple[SiteSpec, ...]:  # Any: TOML
    """The default sites as changed by the file, then those that the file adds."""
    given = convert_names(source, ("sites",), tables)
    found = {site.name: site for site in DEFAULT_SITES}
    for name in given:
        found[name] = _site(name, found.get(name), convert(source, ("sites", name), tables, SiteTable), source)
        refuse_contradictions(found[name], credentials, source)
    domains = [site.domain for site in found.values()]
    for name in given:
        if domains.count(found[name].domain) > 1:
            raise source.error(("sites", name, "domain"), f"{found[name].domain} is another site's domain too")
    return tuple(found.values())


def _site(name: str, default: SiteSpec | None, table: SiteTable, source: Source) -> SiteSpec:
    path = ("sites", name)
    one_of(source, (*path, "emulate"), table.emulate, ("strict", "postfix", "sendmail", "exim"))
    one_of(source, (*path, "accepts"), table.accepts, ("local", "any"))
    for key in ("smtp", "submission", "submissions"):
        port(source, (*path, key), getattr(table, key))
    if isinstance(table.lmtp, int):
        port(source, (*path, "lmtp"), table.lmtp)
    values = _settings(table, path, source)
    if "offers" in values:
        values.setdefault("submission_offers", values["offers"])
    listeners = values.pop("listeners", None) or {}
    site = dataclasses.replace(default or SiteSpec(name=name, domain=f"{name}.test"), **values)
    site = dataclasses.replace(site, domain=site.domain.lower())  # RFC 5321 §2.4: addresses are compared in lower case
    named = (_listener(one, table, site, (*path, "listeners", one), source) for one, table in listeners.items())
    site = dataclasses.replace(site, listeners=tuple(named))
    refuse_idle_check(site, given=table.check_sender is not None, path=path, source=source)
    return site


def _listener(
    name: str, given: dict[str, object], site: SiteSpec, path: tuple[str, ...], source: Source
) -> NamedListener:
    table = convert_value(source, path, given, ListenerTable)
    kind = one_of(source, (*path, "kind"), table.kind, KINDS)
    port(source, (*path, "port"), table.port)
    if (table.port is None) == (not table.socket):
        raise source.error(path, 'a listener needs a port, or else a socket = "/path"')
    if name in KINDS:
        raise source.error(path, f"{name} is the site's own listener: write sites.{site.name}.{name} = PORT")
    values = _settings(table, path, source)
    for key in ("kind", "port", "socket"):
        values.pop(key, None)
    if kind.startswith("submission"):
        values.setdefault("offers", site.submission_offers)
    # As for the site's own: greylists are for servers, which for their part can not be asked for a login.
    if kind != "smtp":
        values.setdefault("greylist", None)
    elif site.auth == "required":
        values.setdefault("auth", "offered")
    settings = dataclasses.replace(site, **values)
    refuse_idle_check(settings, given=table.check_sender is not None, kind=kind, path=path, source=source)
    return NamedListener(name, settings, kind, table.port, table.socket)


def _settings(table: ListenerSettings, path: tuple[str, ...], source: Source) -> dict[str, Any]:
    """What is given, for the fields of the same names (Any: of as many types, which the table has checked)."""
    one_of(source, (*path, "receive"), table.receive, ("strict", "lenient", "normalize"))
    one_of(source, (*path, "auth"), table.auth, ("off", "offered", "required"))
    for mechanism in table.mechanisms or ():
        one_of(source, (*path, "mechanisms"), mechanism, MECHANISMS)
    values: dict[str, Any] = {key: value for key, value in msgspec.structs.asdict(table).items() if value is not None}
    for key in ("offers", "submission_offers"):
        for offer in values.get(key, ()):
            _check_offer(offer, (*path, key), source)
    for key in ("trusted_peers", "proxy_peers"):
        for network in values.get(key, ()):
            _check_network(network, (*path, key), source)
    for key in ("offers", "submission_offers", "mechanisms", "trusted_peers", "proxy_peers"):
        if key in values:
            values[key] = tuple(values[key])
    for key in ("greylist", "command_time", "message_time", "greeting_delay"):
        if key in values:
            values[key] = period(source, (*path, key), values[key])
    for key in ("max_recipients", "max_connections", "max_errors"):
        if values.get(key, 1) < 1:
            raise source.error((*path, key), f"{values[key]} is less than one")
    return values


def _check_offer(offer: str, path: tuple[str, ...], source: Source) -> None:
    keyword, _, parameter = offer.strip().partition(" ")
    keyword = keyword.upper()
    if keyword in _ELSEWHERE:
        raise source.error(path, f"{keyword} is not switched here: {_ELSEWHERE[keyword]}")
    if keyword not in OFFERS:
        if keyword.startswith("X"):
            return
        near = difflib.get_close_matches(keyword, OFFERS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(OFFERS)}, and X..."
        raise source.error(path, f"unknown extension {keyword!r}; {meant}")
    if parameter and not (OFFERS[keyword] and parameter.strip().isdecimal()):
        wanted = "a number" if OFFERS[keyword] else "nothing"
        raise source.error(path, f"{offer!r}: {wanted} may follow {keyword}")


def _check_network(network: str, path: tuple[str, ...], source: Source) -> None:
    if network == "unix":
        return
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise source.error(path, f'{error}: write a network like 127.0.0.0/8, or "unix"') from None
