"""What of a client's line may be remembered: commands, never what may be a secret or message data. Pure.

A line stands where a response to AUTH or message data may stand once AUTH, DATA, BDAT or something unknown was said: a
client may go on as if 334 or 354 had come, count a chunk wrong, or leave a dot unstuffed. Until MAIL or RSET is
accepted, lines are in doubt then, and only what has the form of a command is shown.

    line                                    not in doubt              in doubt
    AUTH, or one slip away from it          the mechanism, where it is a known one; "***" for each word after it
    command, of its own form                whole                     whole
    command with something else             whole                     its name, the rest counted
    one slip away from a command            whole                     whole where the rest has its form, else counted
    one short word of letters, or more      that word, rest counted   counted
    anything else                           counted                   counted

Invariant: the state errs towards doubt, and what is counted is not shown in any other form.
"""

import re
from collections.abc import Collection
from typing import Final

# RFC 4422 §3.1, IANA's registry. Whatever else stands in a mechanism's place may be the secret.
_MECHANISM: Final = re.compile(
    r"(?:PLAIN|LOGIN|CRAM-MD5|DIGEST-MD5|SCRAM-SHA-(?:1|256|512)(?:-PLUS)?|XOAUTH2|OAUTHBEARER|EXTERNAL|ANONYMOUS|GSSAPI"
    r"|GS2-KRB5|NTLM|KERBEROS_V4|OTP)\Z",
    re.IGNORECASE,
)
_SECRETS_FOLLOW: Final = frozenset({"AUTH", "DATA", "BDAT"})
_NAME: Final = re.compile(r"(?:[A-Z]{1,12}|[A-Z]?[a-z]{1,11})\Z")  # base64 is seldom of one case

_PATH: Final = r'[ \t]*(?:<(?:"[^"]*"@)?[^<> ]*>|[^\s<>@]+@[^\s<>@]+)(?: [A-Z0-9][A-Z0-9-]*(?:=\S*)?)*[ \t]*\Z'
_DOMAIN: Final = re.compile(r"[\w.:\[\]-]+\Z")
# RFC 5321 §4.1.1, RFC 3030 §2: what may follow a command's name; commands not listed are shown without more.
_FORMS: Final = {
    "MAIL": re.compile(f"FROM:{_PATH}", re.IGNORECASE),
    "RCPT": re.compile(f"TO:{_PATH}", re.IGNORECASE),
    "EHLO": _DOMAIN,
    "HELO": _DOMAIN,
    "LHLO": _DOMAIN,
    "BDAT": re.compile(r"\d+(?: LAST)?\Z", re.IGNORECASE),
}
# As nearly all clients say them: shown by the rules below, in doubt or not, and found so at once.
_USUAL: Final = re.compile(r"DATA\Z|MAIL FROM:<[!#-;=?-~]*>(?: [A-Z0-9][A-Z0-9-]*(?:=[!-~]*)?)*\Z")


class Legible:
    """The lines of one client. `in_doubt` is ended by who sees that MAIL or RSET was accepted."""

    __slots__ = ("_commands", "in_doubt")

    def __init__(self, commands: Collection[str]) -> None:
        self._commands = commands  # in capitals
        self.in_doubt = False

    def line(self, text: str) -> str:
        """The line as it may be remembered: itself, or less."""
        if _USUAL.match(text):
            self.in_doubt = self.in_doubt or text == "DATA"
            return text
        first, *more = text.split(None, 1) or [""]
        rest = more[0].rstrip(" \t") if more else ""
        name = first.upper()
        command = name if name in self._commands else self._one_slip_from(name)
        if command == "AUTH":
            shown = _without_secret(text, first, rest)
        elif command:
            shown = self._command(text, first, rest, command)
        elif self.in_doubt or not _NAME.match(first):
            shown = f"[{octets_of(text)} octets that are no command]" if text else ""
        else:
            shown = f"{first} [{octets_of(rest)} octets]" if rest else text
        if not command or command in _SECRETS_FOLLOW:
            self.in_doubt = True
        return shown

    def unasked(self, octets: bytes) -> list[str]:
        """What is sent where nothing is answered any more: its first line where that is a command, and a count."""
        if not octets:
            return []
        line, end, rest = octets.partition(b"\n")
        text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
        self.in_doubt = True
        shown = self.line(text)
        if shown.startswith("["):
            return [f"[{len(octets)} octets, not answered]"]
        return [shown, f"[{len(rest)} octets, not answered]"] if end and rest else [shown]

    def _command(self, text: str, first: str, rest: str, command: str) -> str:
        exact = first.upper() == command
        form = _FORMS.get(command)
        if not self.in_doubt or (form is not None and form.match(rest)) or (exact and not rest):
            return readable(text)
        if exact:
            return f"{first} [{octets_of(rest)} octets]"
        return f"[{octets_of(text)} octets that are no command]"

    def _one_slip_from(self, name: str) -> str:
        """The command that was meant; AUTH before all others."""
        if len(name) < 3:
            return ""
        return next((one for one in ("AUTH", *self._commands) if _is_slip(name, one)), "")


def readable(text: str) -> str:
    """Octets that are not UTF-8 as \\xff, all else as it is."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def octets_of(text: str) -> int:
    """How many it was on the wire."""
    return len(text.encode("utf-8", "surrogateescape"))


def _without_secret(text: str, first: str, rest: str) -> str:
    blank = text[: len(text) - len(text.lstrip())]
    words = rest.split()
    shown = [word if index == 0 and _MECHANISM.match(word) else "***" for index, word in enumerate(words)]
    return readable(blank + " ".join([first, *shown]))


def _is_slip(name: str, command: str) -> bool:
    """Whether one character is missing, too many or wrong, or two have changed places."""
    same = next((index for index, (a, b) in enumerate(zip(name, command, strict=False)) if a != b), None)
    if same is None:
        return abs(len(name) - len(command)) <= 1
    a, b = name[same:], command[same:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
