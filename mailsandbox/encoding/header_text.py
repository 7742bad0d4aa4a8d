"""Header text that 7-bit mail cannot carry, to encoded-words (RFC 2047), changing as little as can be.

Invariants: what offends (8-bit, NUL, bare CR) ends up inside encoded-words, octet for octet; words beside it stay; no
encoded-word goes where RFC 2047 §5 forbids it. Works on values with their folding.
"""

import re
from collections.abc import Sequence
from typing import Final

from mailsandbox.message.words import ENCODED_WORD, encode_words

OFFENDING: Final = re.compile(rb"[\x80-\xff\0]|\r(?!\n)")
MAX_ENCODED_LINE: Final = 76  # of a line that holds an encoded-word, RFC 2047 §2
MAX_LINE: Final = 998  # RFC 5322 §2.1.1
PREFERRED_LINE: Final = 78  # RFC 5322 §2.1.1, where a line is folded anyway

_GAP: Final = re.compile(rb"((?:[ \t]|\r\n(?=[ \t]))+)")
_CHUNK: Final = re.compile(rb"[ \t]*[^ \t]+(?:[ \t]+\Z)?|[ \t]+\Z")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_PARENS: Final = re.compile(rb"(\\.|[()])", re.DOTALL)
_STRAY: Final = re.compile(
    rb"=(?=[0-9A-Fa-f]?(?:[\x80-\xff\0]|\r(?!\n)))"
)  # would form a new triplet with what follows
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)


def offends(octets: bytes) -> bool:
    """Whether octets of a header field cannot stand there as they are."""
    return not octets.isascii() or OFFENDING.search(octets) is not None


def repair_words(value: bytes, *, base64: bool = True) -> bytes:
    """Raw octets inside an encoded-word that is there already: =XX in place (Q), or dropped (B).

    RFC 2045 §6.8: base64 decoders skip what is outside their alphabet. `base64` False leaves those as they are, where
    no encoded-word should be and only some readers decode it.
    """
    return ENCODED_WORD.sub(lambda word: word[0] if word[2] in b"bB" and not base64 else _repair_word(word), value)


def _repair_word(word: re.Match[bytes]) -> bytes:
    if not offends(word[0]):
        return word[0]
    text = word[3]
    if word[2] in b"bB":
        fixed = OFFENDING.sub(b"", text)
    else:
        fixed = OFFENDING.sub(lambda octet: b"=%02X" % octet[0][0], _STRAY.sub(b"=3D", text))
    at = word.start(3) - word.start()
    return word[0][:at] + fixed + word[0][at + len(text) :]


def is_encoded_word(word: bytes) -> bool:
    """Whether a whole word is one encoded-word."""
    return word.startswith(b"=?") and ENCODED_WORD.fullmatch(word) is not None


def encode_text(value: bytes, *, first_room: int = 75, in_comment: bool = False) -> bytes:
    """Unstructured text: each run of offending words becomes encoded-words, all else stays.

    A blank between such a run and an encoded-word of the sender's would vanish on display (RFC 2047 §6.2), so it is
    encoded with the run. `in_comment`: backslash pairs inside a run are resolved first.
    """
    pieces = _GAP.split(value)  # words at even places, gaps at odd ones
    out: list[bytes] = []
    index = 0
    while index < len(pieces):
        if not offends(pieces[index]):
            out.append(pieces[index])
            index += 1
            continue
        last = index
        while last + 2 < len(pieces) and offends(pieces[last + 2]):
            last += 2
        run = b"".join(pieces[index : last + 1])
        if index >= 2 and is_encoded_word(pieces[index - 2]):
            run = pieces[index - 1] + run
        if last + 2 < len(pieces) and is_encoded_word(pieces[last + 2]):
            run += pieces[last + 1]
        run = _FOLD.sub(b"", run)
        if in_comment:
            run = _PAIR.sub(rb"\1", run)
        room = first_room if not b"".join(out[:2]).strip() and len(out) <= 2 else 75
        out.append(encode_run(run, first_room=room))
        index = last + 1
    return b"".join(out)


def encode_run(run: bytes, *, first_room: int = 75) -> bytes:
    """One run of text as encoded-words with a blank between them, which is not shown.

    Encoded-words of the sender's within it stay: raw octets glued to them become words of their own beside them.
    """
    words: list[bytes] = []
    position = 0
    for word in ENCODED_WORD.finditer(run):
        if offends(word[0]) or b" " in word[0]:
            continue
        gap = run[position : word.start()]
        if gap.strip(b" \t") or (gap and not words):
            words += encode_words(gap, first_room=75 if words else first_room)
        words.append(word[0])
        position = word.end()
    if position < len(run):
        words += encode_words(run[position:], first_room=75 if words else first_room)
    return b" ".join(words)


def encode_comment(comment: bytes) -> bytes:
    """A comment with its parentheses: the text between them encoded (RFC 2047 §5 (2)); nested ones too."""
    return b"".join(
        piece if piece in (b"(", b")") or not offends(piece) else encode_text(piece, in_comment=True)
        for piece in _join_pairs(_PARENS.split(comment))
    )


def _join_pairs(pieces: Sequence[bytes]) -> list[bytes]:
    """Backslash pairs belong to the text around them."""
    joined: list[bytes] = []
    for piece in pieces:
        if joined and piece not in (b"(", b")") and joined[-1] not in (b"(", b")"):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def fold(line: bytes, *, changed: bool) -> bytes:
    """A field (name, colon, value; no line end after it) with its overlong lines folded at blanks that are there.

    Lines beyond 998 octets always; in a field we `changed`, also lines with encoded-words beyond 76.
    """
    if len(line) <= MAX_ENCODED_LINE:
        return line
    return b"\r\n".join(
        _fold_line(piece, first=not number)
        if len(piece) > MAX_LINE or (changed and len(piece) > MAX_ENCODED_LINE and b"=?" in piece)
        else piece
        for number, piece in enumerate(line.split(b"\r\n"))
    )


def _fold_line(line: bytes, *, first: bool) -> bytes:
    limit = MAX_ENCODED_LINE if b"=?" in line else PREFERRED_LINE
    lines: list[bytes] = []
    row: list[bytes] = []
    length = 0
    for chunk in _CHUNK.findall(line):
        # A folded line must begin with a blank and hold more than blanks (RFC 5322 §3.2.2).
        breakable = chunk[:1] in b" \t" and chunk.strip(b" \t") and row
        if (
            breakable
            and length + len(chunk) > limit
            and not (first and not lines and len(row) == 1 and len(chunk) < 900)
        ):
            lines.append(b"".join(row))
            row, length = [], 0
        row.append(chunk)
        length += len(chunk)
    lines.append(b"".join(row))
    return b"\r\n".join(lines)


def too_long(line: bytes) -> bool:
    """Whether a line of a field is beyond 998 octets."""
    return len(line) > MAX_LINE and any(len(piece) > MAX_LINE for piece in line.split(b"\r\n"))
