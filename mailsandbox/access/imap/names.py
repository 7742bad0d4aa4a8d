"""Mailbox names: modified UTF-7 and UTF-8 on the wire, str inside; INBOX; LIST patterns. Pure.

Invariant: inside, a name is the text a user sees, INBOX is spelled "INBOX", and "/" separates levels. What the client
cannot read (UTF-8 without its consent) is never sent: names go out in modified UTF-7 unless it enabled UTF-8.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from mailsandbox.access.imap.responses import GrammarError

SEPARATOR: Final = "/"
BROKEN: Final = "\N{REPLACEMENT CHARACTER}"  # in a name: the client's modified UTF-7 was wrong there
MAX_NAME: Final = 1_000  # characters; RFC 9051 sets none, file systems and clients stop near here
MAX_LEVELS: Final = 60

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
_SHIFTED: Final = re.compile(r"&([^-]*)(-?)")
_DIRECT: Final = re.compile(r"[\x20-\x25\x27-\x7e]*")


def encode_utf7(name: str) -> bytes:
    """RFC 3501 §5.1.3 (RFC 9051 Appendix A): modified UTF-7."""
    if _DIRECT.fullmatch(name):
        return name.encode("ascii")

    def shifted(run: re.Match[str]) -> str:
        encoded = b2a_base64(run.group().encode("utf-16-be", "surrogatepass"), newline=False).rstrip(b"=")
        return "&" + encoded.decode("ascii").replace("/", ",") + "-"

    return _UNPRINTABLE.sub(shifted, name.replace("&", "&-")).encode("ascii")


def decode_utf7(octets: bytes) -> str:
    """The name that modified UTF-7 spells; what spells nothing becomes BROKEN, so no mailbox can have that name."""
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError:
        raise GrammarError("8-bit octets in a mailbox name that is not UTF-8") from None

    def direct(shifted: re.Match[str]) -> str:
        encoded, end = shifted.groups()
        if not end:
            return BROKEN
        if not encoded:
            return "&"
        try:
            octets = a2b_base64((encoded.replace(",", "/") + "=" * (-len(encoded) % 4)).encode(), strict_mode=True)
            decoded = octets.decode("utf-16-be")
        except (Base64Error, UnicodeDecodeError, ValueError):
            return BROKEN
        # RFC 3501 §5.1.3: printable US-ASCII represents itself; else one mailbox would have two names.
        broken = "/" in encoded or any(" " <= character <= "~" for character in decoded)
        return BROKEN if broken else decoded

    return _SHIFTED.sub(direct, text) if "&" in text else text


def decode_name(octets: bytes, *, utf8: bool) -> str:
    """A mailbox name from the wire. `utf8`: the client enabled UTF8=ACCEPT or IMAP4rev2, so "&" means itself.

    UTF-8 is understood in any case: clients that send it without asking mean it.
    """
    if utf8 or not octets.isascii():
        try:
            name = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise GrammarError("Mailbox name is not UTF-8") from None
    else:
        name = decode_utf7(octets)
    return canonical(name)


@lru_cache(maxsize=1_024)
def encode_name(name: str, *, utf8: bool) -> bytes:
    """A mailbox name as the client reads it."""
    return name.encode("utf-8", "replace") if utf8 else encode_utf7(name)


def canonical(name: str) -> str:
    """RFC 9051 §5.1: INBOX in any case is INBOX, also as the first level; all else keeps its case."""
    if name[:5].upper() == "INBOX" and (len(name) == 5 or name[5] == SEPARATOR):
        return "INBOX" + name[5:]
    return name


def why_invalid(name: str) -> str:
    """Why no mailbox can be made with that name; "" if one can. RFC 9051 §5.1, RFC 5198 §2."""
    if not name:
        return "Empty mailbox name"
    if len(name) > MAX_NAME:
        return f"Mailbox name over {MAX_NAME} characters"
    if name.startswith(SEPARATOR):
        return "Mailbox name begins with the hierarchy separator"
    if BROKEN in name:
        return "Mailbox name is not valid modified UTF-7"
    if SEPARATOR * 2 in name:
        return "Adjacent hierarchy separators"
    if name.count(SEPARATOR) >= MAX_LEVELS:
        return f"More than {MAX_LEVELS} levels"
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in name):
        return "Control characters in a mailbox name"
    if "\u2028" in name or "\u2029" in name or any("\ud800" <= character <= "\udfff" for character in name):
        return "Characters that Net-Unicode does not allow"
    return ""


class ListPattern:
    """RFC 9051 §6.3.9: `*` fits anything, `%` anything but the separator; anchored at both ends.

    Many wildcards are matched by a set of states in one integer, as a backtracking expression would take
    exponential time on `*a*a*a*a*b`.
    """

    __slots__ = ("_exact", "_inbox", "text")

    def __init__(self, reference: str, text: str) -> None:
        self.text = canonical(reference + text)
        # Runs of wildcards are one: "%%%%" must not cost more than "%", and "%*" is "*".
        tokens = ["*" if "*" in run else run[0] if run[0] == "%" else run for run in _RUNS.findall(self.text)]
        self._exact = _fits(tokens)
        self._inbox = _fits([token.lower() for token in tokens])

    def fits(self, name: str) -> bool:
        """Whether the name fits. RFC 9051 §5.1: INBOX compares without case, also with a pattern such as "inb%"."""
        return self._inbox("inbox") if name == "INBOX" else self._exact(name)


_RUNS: Final = re.compile(r"[*%]+|[^*%]+")


def _fits(tokens: list[str]) -> Callable[[str], bool]:
    wildcards = sum(token in "*%" for token in tokens)
    if wildcards <= 2:
        spelled = {"*": ".*", "%": f"[^{SEPARATOR}]*"}
        expression = re.compile("".join(spelled.get(token) or re.escape(token) for token in tokens), re.DOTALL)
        return lambda name: expression.fullmatch(name) is not None
    return partial(_fits_by_states, tuple(piece for token in tokens for piece in token))


def _fits_by_states(pieces: tuple[str, ...], name: str) -> bool:
    """Bit i of `states`: the first i pieces have been met."""
    stars = sum(1 << index for index, piece in enumerate(pieces) if piece == "*")
    percents = sum(1 << index for index, piece in enumerate(pieces) if piece == "%")
    wild = stars | percents
    meets: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        if piece not in "*%":
            meets[piece] = meets.get(piece, 0) | 1 << index

    def settle(states: int) -> int:
        # A wildcard may stand for nothing; runs were joined, so one step is enough.
        return states | (states & wild) << 1

    states = settle(1)
    for character in name:
        stay = states & (stars if character == SEPARATOR else wild)
        states = settle((states & meets.get(character, 0)) << 1 | stay)
        if not states:
            return False
    return bool(states >> len(pieces) & 1)


@lru_cache(maxsize=256)
def list_pattern(reference: str, text: str) -> ListPattern:
    """The compiled pattern."""
    return ListPattern(reference, text)


def parents(name: str) -> list[str]:
    """ "a/b/c" -> ["a", "a/b"]."""
    levels = name.split(SEPARATOR)
    return [SEPARATOR.join(levels[:count]) for count in range(1, len(levels))]
