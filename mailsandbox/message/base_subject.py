"""The base subject of RFC 5256 §2.1, by which SORT and THREAD compare: no "Re:", "[list]", "(fwd)", "[fwd: ...]"."""

import re
from typing import Final

_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_BLOB: Final = r"\[[^\[\]]*\][ \t]*"
_LEADER: Final = re.compile(rf"(?:(?:{_BLOB})*(?:re|fwd?)[ \t]*(?:{_BLOB})?:|[ \t])", re.IGNORECASE)
_BLOBS: Final = re.compile(rf"(?:{_BLOB})+")
_BEGINNINGS: Final = frozenset("rRfF[ \t")  # of all that is taken away at the start
_MAX_SUBJECT: Final = 10_000  # characters looked at


def base_subject(subject: str) -> str:
    """The base subject of a decoded `subject`, case kept."""
    text, _ = base_subject_and_kind(subject)
    return text


def is_reply(subject: str, base: str) -> bool:
    """Whether a decoded `subject` says that the message is a reply or forwarded; `base` is its base subject."""
    if subject == base:
        return False  # nothing was taken away
    if subject[:4].lower().startswith(("re:", "fw:", "fwd:")):
        return True
    return base_subject_and_kind(subject)[1]


def base_subject_and_kind(subject: str) -> tuple[str, bool]:
    """The base subject, and whether anything said that this is a reply or a forwarded message (RFC 5256 §4)."""
    text = subject[:_MAX_SUBJECT]
    if not text.isprintable() or "  " in text:
        text = _BLANKS.sub(" ", text)  # step 1; encoded-words are decoded already
    reply = False
    while True:
        text, trailed = _without_trailers(text)  # step 2
        start, led = _leaders_end(text)  # steps 3 to 5
        reply |= trailed or led
        text = text[start:]
        # Step 6: subj-fwd-hdr and subj-fwd-trl.
        if not (text[:5].lower() == "[fwd:" and text.endswith("]")):
            return text, reply
        text, reply = text[5:-1], True


def _without_trailers(text: str) -> tuple[str, bool]:
    """Without "(fwd)" and blanks at the end."""
    end, trailed = len(text), False
    while end:
        if text[end - 1] in " \t":
            end -= 1
        elif text[max(0, end - 5) : end].lower() == "(fwd)":
            end -= 5
            trailed = True
        else:
            break
    return text[:end], trailed


def _leaders_end(text: str) -> tuple[int, bool]:
    """Where the leaders end (steps 3 to 5), and whether a "Re:" or "Fwd:" was among them."""
    at, led = 0, False
    if text[:1] not in _BEGINNINGS:
        return at, led
    while True:
        if match := _LEADER.match(text, at):
            led |= match.group() not in (" ", "\t")
            at = match.end()
        elif (match := _BLOBS.match(text, at)) is None:
            return at, led
        elif match.end() < len(text):
            at = match.end()  # all blobs at once: a leader behind them would have matched above
        else:
            return text.rindex("[", at), led  # step 4: the last blob stays when nothing would be left
