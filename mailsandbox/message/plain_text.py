"""What a person would read of an HTML part, and the first words of it. Linear; never raises; no parser of HTML.

For searching and for previews (RFC 8970); not for showing a message.
"""

import html
import re
from typing import Final

MAX_PREVIEW: Final = 200  # characters, RFC 8970 §3.1
_FIRST_LINES: Final = 320  # characters in which the preview of most messages lies
_MAX_LOOKED_AT: Final = 20_000  # characters
_HIDDEN: Final = ("script", "style", "head", "title", "template")
_BLANKS: Final = re.compile(r"[\s\u00ad\u034f\u200b-\u200f\u2060\ufeff]+")  # with the invisible fillers of newsletters
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_TAG: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_INLINE: Final = frozenset(
    ("a", "abbr", "b", "big", "cite", "code", "em", "font", "i", "ins", "kbd", "mark", "q", "s", "small", "span",
     "strong", "sub", "sup", "tt", "u")
)  # fmt: skip
_QUOTED: Final = re.compile(r"(?m)^[ \t]*>.*$")


def html_text(source: str) -> str:
    """The visible words of `source`: tags become spaces where they separate words, entities their characters."""
    first, *rest = source.split("<")
    shown = [first]
    hidden = ""
    for piece in rest:
        tag = _TAG.match(piece)
        name = tag[1].lower() if tag else ""
        if hidden:
            if hidden == "--":
                if "-->" in piece:
                    shown.append(piece.partition("-->")[2])
                    hidden = ""
            elif name == hidden and piece.startswith("/"):
                hidden = ""
                shown.append(piece.partition(">")[2])
            continue
        if piece.startswith("!--"):
            hidden = "" if "-->" in piece else "--"
            shown.append(piece.partition("-->")[2])
        elif tag or piece.startswith(("!", "?", "/")):
            if name in _HIDDEN and not piece.startswith("/") and not piece.partition(">")[0].endswith("/"):
                hidden = name
                continue
            if name not in _INLINE:
                shown.append(" ")
            shown.append(piece.partition(">")[2])
        else:
            shown.append("<" + piece)  # a bare "<" is text
    return html.unescape("".join(shown))


def preview(text: str) -> str:
    """At most MAX_PREVIEW characters of the beginning of `text`, on one line; quoted lines if nothing else is there."""
    # Whole lines at the beginning are enough nearly always: what follows cannot change the first words.
    shown = _unquoted(text[: text.rfind("\n", 0, _FIRST_LINES) + 1])
    if len(shown) <= MAX_PREVIEW:
        head = text[:_MAX_LOOKED_AT]
        shown = _unquoted(head) or _squeezed(head)
    return shown if len(shown) <= MAX_PREVIEW else shown[: MAX_PREVIEW - 1].rstrip() + "…"


def _unquoted(text: str) -> str:
    return _squeezed(_QUOTED.sub("", text) if ">" in text else text)


def _squeezed(text: str) -> str:
    # Without the fillers, which are beyond ASCII, blanks are what str.split takes for them: in a tenth of the time.
    squeezed = " ".join(text.split()) if text.isascii() else _BLANKS.sub(" ", text)
    return (squeezed if squeezed.isprintable() else _CONTROL.sub("", squeezed)).strip()
