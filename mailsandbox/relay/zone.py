"""The simulated DNS: names with their records, and every way in which looking them up can go wrong. Pure.

Invariant: a lookup ends, whatever the zone says (aliases are followed a bounded number of times), and asks nobody.
Records are written as in a master file (RFC 1035 §5): `MX = ["10 mx1.delta.test"]`, `A = "127.0.0.1"`, and what a
resolver would have said instead: `status = "SERVFAIL"`. `port` belongs to the sandbox: where that host listens.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mailsandbox.errors import ConfigError

SMTP_PORT: Final = 25
MAX_ALIASES: Final = 8  # CNAMEs followed; BIND stops at 16, Postfix leaves it to the resolver

_STATUSES: Final = ("NOERROR", "NXDOMAIN", "SERVFAIL")
_STS_MX: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z")  # RFC 8461 §3.2
_STS_MAX_AGE: Final = 31_557_600  # seconds, RFC 8461 §3.2
_STS_KEYS: Final = frozenset({"version", "mx", "max_age"})
_KEPT: Final = 1_024  # names whose canonical form is remembered: the same domains are asked for again and again
_KEYS: Final = ("MX", "A", "AAAA", "CNAME", "TLSA", "status", "port", "mta_sts", "dnssec")


@dataclass(frozen=True, slots=True)
class MxRecord:
    """One mail exchanger (RFC 1035 §3.3.9); host "" is the null MX (RFC 7505)."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """What DANE pins (RFC 6698 §2.1): `data` is lower-case hex."""

    usage: int
    selector: int
    matching: int
    data: str


@dataclass(frozen=True, slots=True)
class MtaSts:
    """A policy as its domain would publish it (RFC 8461 §3.2)."""

    mode: str  # "enforce", "testing" or "none"
    mx: tuple[str, ...]  # patterns: "mx1.delta.test", "*.delta.test"
    max_age: int = 86_400  # seconds; kept to be shown, as a zone does not change while it is served


@dataclass(frozen=True, slots=True)
class Entry:
    """All records of one name."""

    mx: tuple[MxRecord, ...] = ()
    addresses: tuple[str, ...] = ()
    cname: str = ""
    tlsa: tuple[TlsaRecord, ...] = ()
    status: str = "NOERROR"
    port: int = SMTP_PORT
    mta_sts: MtaSts | None = None
    signed: bool = True  # by DNSSEC; what is not can pin no certificate and prove no exchanger
    tlsa_failed: bool = False  # TLSA = "SERVFAIL": such records can not be had, or are not to be trusted

    @property
    def takes_no_mail(self) -> bool:
        """RFC 7505 §3: a null MX, which is alone."""
        return bool(self.mx) and all(record.host == "" for record in self.mx)


@dataclass(frozen=True, slots=True)
class Found:
    """The name exists; its records may still be none of those asked for. `name` is where the aliases ended."""

    name: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class NoSuchName:
    """NXDOMAIN."""


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """SERVFAIL, or aliases that never end."""

    why: str


Answer = Found | NoSuchName | LookupFailed


class Zone:
    """Names in lower case without the final dot."""

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self._entries = {canonical(name): entry for name, entry in (entries or {}).items()}

    @classmethod
    def parse(cls, table: Mapping[str, Mapping[str, object]]) -> "Zone":
        """From the `[zone]` table of the configuration. Raises ConfigError that names the key."""
        return cls({name: _entry(name, records) for name, records in table.items()})

    def look_up(self, name: str) -> Answer:
        """Follow aliases from `name` to its records (RFC 5321 §5.1: the alias's target is used in its place)."""
        name = canonical(name)
        for _ in range(MAX_ALIASES + 1):
            entry = self._entries.get(name)
            if entry is None or entry.status == "NXDOMAIN":
                return NoSuchName()
            if entry.status == "SERVFAIL":
                return LookupFailed(f"the name server of {name} failed (SERVFAIL)")
            if not entry.cname:
                return Found(name, entry)
            name = canonical(entry.cname)
        return LookupFailed(f"more than {MAX_ALIASES} aliases (CNAME) in a row, at {name}")

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, name: str) -> bool:
        return canonical(name) in self._entries


@lru_cache(_KEPT)
def canonical(name: str) -> str:
    """Names compare without case and without the root's dot; internationalized ones as A-labels (RFC 5890)."""
    name = name.rstrip(".").lower()
    if name.isascii():
        return name
    import idna  # 20 ms to import, and rarely needed

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def _entry(name: str, records: Mapping[str, object]) -> Entry:
    for key in records:
        if key not in _KEYS:
            raise ConfigError(f'zone."{name}": unknown key "{key}"; right would be one of {", ".join(_KEYS)}')
    status = records.get("status", "NOERROR")
    if status not in _STATUSES:
        raise ConfigError(f'zone."{name}".status = {status!r}; right would be one of {", ".join(_STATUSES)}')
    port = records.get("port", SMTP_PORT)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ConfigError(f'zone."{name}".port = {port!r}; right would be a number from 1 to 65535')
    signed = records.get("dnssec", True)
    if not isinstance(signed, bool):
        raise ConfigError(f'zone."{name}".dnssec = {signed!r}; right would be true or false')
    # RFC 7672 §2.2: TLSA records count where they are signed; elsewhere they are as good as none.
    tlsa = _texts(name, records, "TLSA") if signed else ()
    addresses = [*_addresses(name, records, "A"), *_addresses(name, records, "AAAA")]
    return Entry(
        mx=tuple(_mx(name, text) for text in _texts(name, records, "MX")),
        addresses=tuple(addresses),
        cname=next(iter(_texts(name, records, "CNAME")), ""),
        tlsa=tuple(_tlsa(name, text) for text in tlsa if text != "SERVFAIL"),
        status=str(status),
        port=port,
        mta_sts=_mta_sts(name, records.get("mta_sts")),
        signed=signed,
        tlsa_failed="SERVFAIL" in tlsa,
    )


def _texts(name: str, records: Mapping[str, object], key: str) -> Sequence[str]:
    value = records.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise ConfigError(f'zone."{name}".{key} = {value!r}; right would be a text or a list of texts')
    return values


def _addresses(name: str, records: Mapping[str, object], key: str) -> list[str]:
    version = 4 if key == "A" else 6
    found = []
    for text in _texts(name, records, key):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        if address is None or address.version != version:
            raise ConfigError(f'zone."{name}".{key} = {text!r}; right would be an IPv{version} address') from None
        found.append(str(address))
    return found


def _mx(name: str, text: str) -> MxRecord:
    # RFC 1035 §3.3.9: a preference of 16 bits, a name; RFC 7505 §3: "0 ." says that no mail is taken.
    preference, _, host = text.strip().partition(" ")
    if not preference.isdecimal() or int(preference) > 65535 or not host.strip():
        raise ConfigError(f'zone."{name}".MX = {text!r}; right would be "10 mx1.{name}", or "0 ." for no mail at all')
    return MxRecord(int(preference), canonical(host.strip()))


def _tlsa(name: str, text: str) -> TlsaRecord:
    words = text.split(maxsplit=3)
    data = words[3].replace(" ", "").lower() if len(words) == 4 else ""
    if not (data and all(word.isdecimal() for word in words[:3]) and set(data) <= set("0123456789abcdef")):
        raise ConfigError(f'zone."{name}".TLSA = {text!r}; right would be "3 1 1 <sha256 in hex>"')
    return TlsaRecord(int(words[0]), int(words[1]), int(words[2]), data)


def _mta_sts(name: str, value: object) -> MtaSts | None:
    if value is None:
        return None
    match value:
        case {"mode": "enforce" | "testing" | "none" as mode, **others} if others.keys() <= _STS_KEYS:
            # RFC 8461 §3.2: mx at least once unless mode is none; max_age at most a year; one version there is.
            match others.get("mx", []), others.get("max_age", 86_400), others.get("version", "STSv1"):
                case [*mx], int(max_age), "STSv1" if 0 <= max_age <= _STS_MAX_AGE and (mx or mode == "none"):
                    patterns = [one.lower() for one in mx if isinstance(one, str) and _STS_MX.match(one)]
                    if len(patterns) == len(mx):
                        return MtaSts(mode, tuple(patterns), max_age)
    right = f'{{ mode = "enforce", mx = ["mx1.{name}", "*.{name}"], max_age = 86400 }}'
    raise ConfigError(f'zone."{name}".mta_sts = {value!r}; right would be {right}')
