"""What the server can do, by name, with its source; and what of it is switched off. Pure.

Invariant: a capability is listed only if everything it needs is on, and `handlers/__init__.py` names its
implementation (checked when the server starts). A command of a capability that is off is unknown.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Shown(Enum):
    """When CAPABILITY lists it."""

    ALWAYS = "always"
    BEFORE_LOGIN = "before login"
    AFTER_LOGIN = "after login"
    NEVER = "never"  # listed by other means, or a name of our own for the configuration


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability. `needs`: it is off when one of these is."""

    name: str
    source: str
    shown: Shown = Shown.AFTER_LOGIN
    needs: tuple[str, ...] = ()
    enable: bool = False  # ENABLE takes it


_BEFORE: Final = Shown.BEFORE_LOGIN
_ALWAYS: Final = Shown.ALWAYS

CAPABILITIES: Final[Mapping[str, Capability]] = MappingProxyType(
    {
        capability.name: capability
        for capability in (
            Capability("IMAP4rev1", "RFC 3501", _ALWAYS),
            Capability("IMAP4rev2", "RFC 9051", _ALWAYS, enable=True),
            Capability("LITERAL+", "RFC 7888", _ALWAYS),
            Capability("LITERAL-", "RFC 7888", Shown.NEVER),  # in the place of LITERAL+ where that is off
            Capability("SASL-IR", "RFC 4959", _ALWAYS),
            Capability("STARTTLS", "RFC 9051 §6.2.1", _BEFORE),
            Capability("LOGINDISABLED", "RFC 9051 §6.2.3", _BEFORE),
            Capability("ID", "RFC 2971", _ALWAYS),
            Capability("ENABLE", "RFC 5161", _ALWAYS),
            Capability("IDLE", "RFC 2177", _ALWAYS),
            Capability("NAMESPACE", "RFC 2342"),
            Capability("UNSELECT", "RFC 3691"),
            Capability("CHILDREN", "RFC 3348"),
            Capability("LIST-EXTENDED", "RFC 5258"),
            Capability("LIST-STATUS", "RFC 5819", needs=("LIST-EXTENDED",)),
            Capability("LIST-METADATA", "RFC 9590", needs=("LIST-EXTENDED", "METADATA")),
            Capability("SPECIAL-USE", "RFC 6154"),
            Capability("CREATE-SPECIAL-USE", "RFC 6154 §3", needs=("SPECIAL-USE",)),
            Capability("UIDPLUS", "RFC 4315"),
            Capability("MOVE", "RFC 6851"),
            Capability("MULTIAPPEND", "RFC 3502"),
            Capability("CATENATE", "RFC 4469"),
            Capability("REPLACE", "RFC 8508"),
            Capability("BINARY", "RFC 3516"),
            Capability("CONDSTORE", "RFC 7162", enable=True),
            Capability("QRESYNC", "RFC 7162", needs=("CONDSTORE", "ENABLE"), enable=True),
            Capability("ESEARCH", "RFC 4731"),
            Capability("SEARCHRES", "RFC 5182", needs=("ESEARCH",)),
            Capability("WITHIN", "RFC 5032"),
            Capability("CONTEXT=SEARCH", "RFC 5267", needs=("ESEARCH",)),
            Capability("PARTIAL", "RFC 9394", needs=("ESEARCH",)),
            Capability("SORT", "RFC 5256"),
            Capability("SORT=DISPLAY", "RFC 5957", needs=("SORT",)),
            Capability("ESORT", "RFC 5267", needs=("SORT", "ESEARCH")),
            Capability("THREAD=ORDEREDSUBJECT", "RFC 5256"),
            Capability("THREAD=REFERENCES", "RFC 5256"),
            Capability("THREAD=REFS", "RFC 5256"),
            Capability("STATUS=SIZE", "RFC 8438"),
            Capability("SAVEDATE", "RFC 8514"),
            Capability("PREVIEW", "RFC 8970"),
            Capability("OBJECTID", "RFC 8474"),
            Capability("UIDONLY", "RFC 9586", needs=("ENABLE",), enable=True),
            Capability("NOTIFY", "RFC 5465"),
            Capability("COMPRESS=DEFLATE", "RFC 4978"),
            Capability("UTF8=ACCEPT", "RFC 6855", needs=("ENABLE",), enable=True),
            Capability("APPENDLIMIT", "RFC 7889"),
            Capability("QUOTA", "RFC 9208"),
            Capability("QUOTA=RES-STORAGE", "RFC 9208", needs=("QUOTA",)),
            Capability("METADATA", "RFC 5464"),
            Capability("INPROGRESS", "RFC 9585"),
            Capability("I18NLEVEL=1", "RFC 5255"),
        )
    }
)

# RFC 9051 Appendix E: IMAP4rev2 includes these; without one of them the server is not rev2.
REV2_NEEDS: Final = (
    "ENABLE", "IDLE", "NAMESPACE", "UNSELECT", "UIDPLUS", "MOVE", "ESEARCH", "SEARCHRES", "LIST-EXTENDED",
    "LIST-STATUS", "SASL-IR", "STATUS=SIZE", "SPECIAL-USE", "BINARY",
)  # fmt: skip


def knows(name: str) -> bool:
    """Whether IMAP has a capability of that name, in any case."""
    return name.upper().startswith("AUTH=") or name.upper() in _BY_UPPER


def names_of(listed: Iterable[str]) -> frozenset[str]:
    """The table's spelling of names in any case; others, which may be POP3's, are passed over."""
    return frozenset(_BY_UPPER[name.upper()] for name in listed if name.upper() in _BY_UPPER)


_BY_UPPER: Final = {name.upper(): name for name in CAPABILITIES}


def available(off: Collection[str]) -> frozenset[str]:
    """All that is on when `off` is switched off, with what needs it."""
    on = {name for name in CAPABILITIES if name not in off}
    if "IMAP4rev2" in on and any(name not in on for name in REV2_NEEDS):
        on.discard("IMAP4rev2")
    while True:
        broken = {name for name in on if any(needed not in on for needed in CAPABILITIES[name].needs)}
        if not broken:
            return frozenset(on)
        on -= broken


def listing(
    on: Collection[str], *, authenticated: bool, mechanisms: Collection[str], tls_possible: bool, login_disabled: bool,
    append_limit: int,
) -> str:  # fmt: skip
    """The text of a CAPABILITY response. `mechanisms`: SASL names offered now."""
    words = []
    for name, capability in CAPABILITIES.items():
        match capability.shown:
            case Shown.NEVER:
                shown = name == "LITERAL-" and "LITERAL+" not in on
            case Shown.ALWAYS:
                shown = True
            case Shown.BEFORE_LOGIN:
                shown = not authenticated
            case Shown.AFTER_LOGIN:
                shown = authenticated
        if not shown or name not in on:
            continue
        if (name == "STARTTLS" and not tls_possible) or (name == "LOGINDISABLED" and not login_disabled):
            continue
        words.append(f"APPENDLIMIT={append_limit}" if name == "APPENDLIMIT" else name)
    if not authenticated:
        words.extend(f"AUTH={name}" for name in mechanisms)
    return " ".join(words)
