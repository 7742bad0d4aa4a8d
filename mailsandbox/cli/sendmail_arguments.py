"""The arguments of sendmail, as Sendmail and Postfix read them. Knows nothing of mail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

# Options of Sendmail and Postfix that take a value, in the same word or the next; the others are single letters.
_WITH_VALUE: Final = frozenset("ABCDFfhLNOopRrVX")
_IGNORED: Final = frozenset("ABCDhLOoXdGmnUvxeIc")


class Usage(Exception):
    """The arguments cannot be understood."""


@dataclass(slots=True)
class Asked:
    """What the arguments ask for. `mode` is the letter of -b: m deliver, s SMTP on stdin, p list the queue ..."""

    mode: str = "m"
    recipients: list[str] = field(default_factory=list)
    sender: str | None = None
    full_name: str = ""
    from_header: bool = False  # -t
    dots_are_data: bool = False  # -i
    notify: str = ""
    ret: str = ""
    envid: str = ""
    body: str = ""
    verbose: bool = False
    run_queue: bool = False
    server: str = ""
    as_json: bool = False
    ready_file: str = ""
    url: str = ""


def parse(arguments: Sequence[str]) -> Asked:
    """The arguments as Sendmail reads them: clustered letters, values in the same word or the next."""
    asked = Asked()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            asked.recipients.extend(words)
            break
        if word.startswith("--"):
            _long(asked, word, words)
        elif word.startswith("-") and len(word) > 1:
            _letters(asked, word[1:], words)
        else:
            asked.recipients.append(word)
    return asked


def _long(asked: Asked, word: str, words: list[str]) -> None:
    if word == "--json":
        asked.as_json = True
        return
    name, equals, value = word[2:].partition("=")
    key = name.replace("-", "_")
    if key not in ("server", "ready_file", "url"):
        raise Usage(f"unknown option {word}")
    if not equals:
        if not words:
            raise Usage(f"option --{name} needs a value")
        value = words.pop(0)
    setattr(asked, key, value)


def _letters(asked: Asked, letters: str, words: list[str]) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "b":
            asked.mode = letters[:1]
            if not asked.mode:
                raise Usage("option -b needs a mode: -bm, -bs or -bp")
            return
        if letter == "q":
            asked.run_queue = True  # -q, and -q30m of a daemon, which we are not
            return
        if letter == "d":
            return  # -d0.1: debugging
        if letter in _WITH_VALUE:
            if not letters and not words:
                raise Usage(f"option -{letter} needs a value")
            _value(asked, letter, letters or words.pop(0))
            return
        _flag(asked, letter)


def _flag(asked: Asked, letter: str) -> None:
    match letter:
        case "t":
            asked.from_header = True
        case "i":
            asked.dots_are_data = True
        case "v":
            asked.verbose = True
        case _ if letter not in _IGNORED:
            raise Usage(f"unknown option -{letter}")


def _value(asked: Asked, letter: str, value: str) -> None:
    match letter:
        case "f" | "r":
            asked.sender = value
        case "F":
            asked.full_name = value
        case "N":
            asked.notify = value
        case "R":
            asked.ret = value
        case "V":
            asked.envid = value
        case "B":
            asked.body = value.upper()
        case "o" if value == "i":
            asked.dots_are_data = True
        case "o" if value.startswith("Q"):
            pass
