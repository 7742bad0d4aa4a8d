"""How a message lies on the wire: DATA with its transparent dots (RFC 5321 §4.5.2), BDAT with its counts (RFC 3030).

Invariant: however the octets are cut into pieces, the reader yields the same content and the same end. The end of
data is exactly CRLF "." CRLF and nothing like it. Nothing here goes line by line: search and replace only.
Knows nothing of what a message is, nor of sockets.
"""

from collections.abc import Iterator
from typing import Final

CRLF: Final = b"\r\n"
END_OF_DATA: Final = b".\r\n"  # after the CRLF of the last line, RFC 5321 §4.1.1.4

_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_DOT: Final = 0x2E  # as a number: for octets Python first tries whether they are one, by an exception
_ENDS_OF_PIECE: Final = (13, 10, 46)  # CR, LF, "."


class DataReader:
    """The receiving side of DATA, fed in arbitrary pieces after the 354.

    `feed` returns content that is certain, dots removed; up to four octets that may belong to the end are held back.
    When `ended` is true, `rest` holds what came after the end: the next commands of a client that pipelines.
    """

    __slots__ = ("_first", "_held", "ended", "rest")

    def __init__(self) -> None:
        # The first line is preceded by the CRLF of the DATA command: an empty message is "." CRLF (RFC 5321 §4.1.1.4).
        self._held = CRLF
        self._first = True
        self.ended = False
        self.rest = b""

    def feed(self, octets: bytes) -> bytes:
        """Take the next piece; return the content that it made certain."""
        if self.ended:
            raise ValueError("fed after the end of data")
        window = self._held + octets if self._held else octets
        # A search for one octet is the fastest there is, and attachments in base64 have no dot to be found at all.
        dot = window.find(_STUFFED) if _DOT in window else -1
        end = window.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.ended = True
            self.rest = window[end + len(_END) :]
            self._held = b""
            content = window[: end + len(CRLF)]
        elif keep := _held_back(window):
            self._held = window[-keep:]
            content = window[:-keep]
        else:
            self._held = b""
            content = window
        # RFC 5321 §4.5.2: delete the leading dot of a line that has other characters; once, and after CRLF only.
        # A held-back CRLF is looked at together with what follows it, so no dot hides at the joint of two pieces.
        if 0 <= dot != end:
            content = content.replace(_STUFFED, CRLF)
        if self._first and content:
            self._first = False
            return content[len(CRLF) :]
        return content


def in_one_piece(octets: bytes) -> bytes | None:
    """What a reader would give that is fed this first: the content, where it is all of a message with its end and no
    line begins with a dot, as most small ones come. None: feed a reader.
    """
    if octets.endswith(_END) and octets.find(_STUFFED) == len(octets) - len(_END) and not octets.startswith(b"."):
        return octets[: -len(END_OF_DATA)]
    return None


def _held_back(window: bytes) -> int:
    """How many octets at the end of `window` may be the beginning of the end of data."""
    if not window or window[-1] not in _ENDS_OF_PIECE:
        return 0
    for length in (4, 3, 2, 1):
        if window.endswith(_END[:length]):
            return length
    return 0


def dot_stuff(octets: bytes) -> bytes:
    """Content made transparent for DATA: one more dot before each line that begins with one (RFC 5321 §4.5.2).

    Returns the same object where no line does. The end is not added: see `data_block`.
    """
    # CPython searches for three octets two to four times faster from the end, and for one octet ten times faster still:
    # attachments in base64 have no dot at all.
    last = octets.rfind(b".")
    stuffed = octets if octets.rfind(_STUFFED, 0, last + 1) < 0 else octets.replace(_STUFFED, b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def data_block(octets: bytes) -> bytes:
    """What a client sends after the 354: the content made transparent, and the end of data.

    RFC 5321 §4.1.1.4: the CRLF that ends the last line is part of the content; where it lacks, it is added, as the
    end could not be recognised otherwise.
    """
    stuffed = dot_stuff(octets)
    if not octets or stuffed.endswith(CRLF):
        return b"".join((stuffed, END_OF_DATA))
    return b"".join((stuffed, CRLF, END_OF_DATA))


def bdat_chunks(octets: bytes, size: int = 1 << 20) -> Iterator[tuple[bytes, memoryview]]:
    """Content as BDAT commands with their chunks of at most `size` octets; the last carries LAST (RFC 3030 §2).

    No dots are added and no CRLF either: the octets travel as they are. Chunks are views, not copies.
    """
    view = memoryview(octets)
    total = len(view)
    for start in range(0, total, size) or (0,):
        chunk = view[start : start + size]
        last = b" LAST" if start + size >= total else b""
        yield b"BDAT %d%b\r\n" % (len(chunk), last), chunk
