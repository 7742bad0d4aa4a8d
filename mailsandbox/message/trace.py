"""Trace fields (RFC 5321 §4.4): Received and Return-Path as octets, and reading back who gave a message which id.

Invariant: fields are folded at 78 columns where they can be, never beyond 998 octets, and never hold a bare CR or LF.
"""

import functools
import ipaddress
import math
import re
import time
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_KEPT: Final = 512  # fields that are kept, or beginnings of them: one for each client, for each address
MAX_LEADING: Final = 1 << 16  # octets looked at for Received fields at the beginning
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f()\\;]")

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")  # RFC 5321 §4.1.2
_MAX_DOMAIN: Final = 255  # octets, §4.5.3.1.2
_NOT_QUOTABLE: Final = re.compile(r"[^ !#-\'*-:<-\[\]-~]")  # within a comment and quotes, and by simple parsers
_LONGEST_CLAIM: Final = 60

_RECEIVED: Final = b"received:"
_FOLDED: Final = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*")
# Whole fields only, and with another field behind them: where the header is broken nothing is taken from it.
_LEADING: Final = re.compile(rb"(?:(?i:received)[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*)+(?=[!-9;-~]++[ \t]*+:)")
# As most servers write it, ours too: comments before "by" only. Finds what the searches below would, in a fifth of it.
_USUAL: Final = re.compile(
    rb"[ \t]*+from[ \t]++[^\s;()]++[ \t]++\([^()]*+\)(?:\r\n[ \t]++\([^()]*+\))*"
    rb"\r\n[ \t]++by[ \t]++([^\s;()]++)[ \t]++with[ \t]++[^\s;()]++[ \t]++id[ \t]++(?!<)([^\s;()>]++)"
)
_COMMENT: Final = re.compile(rb"\([^()]*+\)")
_BY: Final = re.compile(rb"(?:^|[ \t\r\n])(?i:by)[ \t\r\n]++([^\s;()]++)")
_ID: Final = re.compile(rb"(?:^|[ \t\r\n])(?i:id)[ \t\r\n]++<?([^\s;()>]++)")


def format_date(timestamp: float) -> str:
    """RFC 5322 §3.3 in UTC: "Sat, 21 Nov 2026 02:56:39 +0000"."""
    return _date(math.floor(timestamp))


@functools.lru_cache(8)  # made once for the messages of a second
def _date(timestamp: int) -> str:
    t = time.gmtime(timestamp)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    )


def received_field(
    *,
    helo: str,
    peer: str,
    by: str,
    protocol: str,
    queue_id: str,
    at: float,
    recipient: str = "",
    tls: str = "",
) -> bytes:
    """One Received field with its CRLF.

    `peer`: the client's address, "127.0.0.1:4711" or "127.0.0.1"; `protocol`: RFC 3848 word; `recipient`: only when
    there is exactly one (RFC 5321 §7.2: others must not be disclosed).
    """
    lines, last = _received_from(helo, peer, by, protocol, tls)
    last += queue_id if queue_id.isalnum() else _word(queue_id)
    if recipient:
        lines += last + "\r\n"
        forward_path = recipient.replace("\r", "").replace("\n", "")
        last = f"\tfor <{forward_path}>"
    date = format_date(at)
    ending = f"; {date}\r\n" if len(last) < 40 else f";\r\n\t{date}\r\n"
    return f"{lines}{last}{ending}".encode("utf-8", "surrogateescape")


@functools.lru_cache(_KEPT)
def _received_from(helo: str, peer: str, by: str, protocol: str, tls: str) -> tuple[str, str]:
    """The whole lines before the one of the id, and that up to the id: the same for all messages of a session."""
    host = peer.rpartition(":")[0] if peer.count(":") == 1 else peer
    literal = f"IPv6:{host}" if ":" in host else host
    using = f"\t(using {_word(tls)})\r\n" if tls else ""
    return (
        f"Received: from {_extended_domain(helo, _word(literal))}\r\n{using}",
        f"\tby {_word(by)} with {_word(protocol)} id ",
    )


def _extended_domain(helo: str, literal: str) -> str:
    """RFC 5321 §4.4: a domain or an address literal, and the address; what is neither is quoted in a comment."""
    if not helo:
        return f"unknown ([{literal}])"
    if _is_domain(helo):
        return f"{helo} ([{literal}])"
    claimed = _NOT_QUOTABLE.sub("?", helo[:_LONGEST_CLAIM]) + ("..." if len(helo) > _LONGEST_CLAIM else "")
    return f'[{literal}] ([{literal}])\r\n\t(HELO "{claimed}")'


def _is_domain(name: str) -> bool:
    if len(name) > _MAX_DOMAIN:
        return False
    if not name.startswith("["):
        return _DOMAIN.match(name) is not None
    inside = name[1:-1]
    try:
        # RFC 5321 §4.1.3. Literals with other tags may hold what ends a comment or a field's value.
        ipaddress.IPv6Address(inside[5:]) if inside[:5].lower() == "ipv6:" else ipaddress.IPv4Address(inside)
    except ValueError:
        return False
    return name.endswith("]") and "%" not in name


def leading_received(octets: bytes) -> int:
    """How many octets the Received fields take with which a message begins."""
    found = _LEADING.match(octets, 0, MAX_LEADING)
    return found.end() if found else 0


@functools.lru_cache(_KEPT)
def return_path_field(reverse_path: str) -> bytes:
    """RFC 5321 §4.4: written once, at final delivery."""
    return f"Return-Path: <{_UNSAFE.sub('', reverse_path)}>\r\n".encode("utf-8", "surrogateescape")


@functools.lru_cache(_KEPT)
def delivered_to_field(address: str) -> bytes:
    """RFC 9228: the address a copy was delivered to."""
    return f"Delivered-To: {_UNSAFE.sub('', address)}\r\n".encode("utf-8", "surrogateescape")


def _word(text: str) -> str:
    return _UNSAFE.sub("", text).strip() or "unknown"


def received_values(octets: bytes) -> list[bytes]:
    """What the Received fields of the header say, the newest first: for loop detection (RFC 5321 §6.3), and below."""
    end = octets.find(b"\r\n\r\n")
    bare = octets.find(b"\n\n", 0, end if end >= 0 else len(octets))
    end = bare if bare >= 0 else end
    header = octets[: end + 1] if end >= 0 else octets[:1_000_000]
    # Asked of every message, and most have one at most: a search that knows no case is slow, one in small letters not.
    lowered = header.lower()
    values = []
    at = lowered.find(_RECEIVED)
    while at >= 0:
        after = at + len(_RECEIVED)
        if at == 0 or header[at - 1] == 0x0A:
            found = _FOLDED.match(header, after)
            assert found is not None  # an empty value is one
            values.append(found[0])
            after = found.end()
        at = lowered.find(_RECEIVED, after)
    return values


def received_ids(values: list[bytes]) -> list[tuple[str, str]]:
    """(by-domain, id) of each Received field, given by its value; what is malformed is left out."""
    found = []
    for value in values:
        usual = _USUAL.match(value)
        pair = usual.group(1, 2) if usual else _by_and_id(value)
        if pair is not None:
            found.append((pair[0].decode("utf-8", "replace").lower(), pair[1].decode("utf-8", "replace")))
    return found


def _by_and_id(value: bytes) -> tuple[bytes, bytes] | None:
    for _ in range(5):  # comments nest; five levels are more than any mailer writes
        if b"(" not in value:
            break
        value = _COMMENT.sub(b" ", value)
    by, identifier = _BY.search(value), _ID.search(value)
    return (by[1], identifier[1]) if by and identifier else None
