"""Answers of SEARCH and SORT: the old responses, ESEARCH with its result options, and what "$" keeps. Pure.

RFC 9051 §7.3.4, RFC 4731, RFC 5182, RFC 5256 §4, RFC 5267 §3, RFC 9394, RFC 7162 §3.1.5, §3.1.10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mailsandbox.access.imap.grammar.search import Returns
from mailsandbox.access.imap.responses import quote
from mailsandbox.access.imap.sets import write_numbers, write_pairs_in_order
from mailsandbox.store.model import MessageRow


@dataclass(frozen=True, slots=True)
class Found:
    """The result: numbers (sequence numbers or UIDs) with their rows, in the order of the answer.

    `mod_seq`: the key had MODSEQ, so the answer tells the highest (RFC 7162 §3.1.5). `sorted`: the order is SORT's.
    """

    numbers: Sequence[int]
    rows: Sequence[MessageRow]
    uid: bool
    mod_seq: bool
    sorted: bool = False


def plain(found: Found) -> bytes:
    """SEARCH or SORT, also when nothing was found (RFC 9051 §6.4.4)."""
    word = b"SORT" if found.sorted else b"SEARCH"
    text = word + b" %d" * len(found.numbers) % tuple(found.numbers)
    if found.mod_seq and found.rows:
        text += b" (MODSEQ %d)" % max(row.mod_seq for row in found.rows)
    return text


def extended(found: Found, returns: Returns, tag: bytes) -> bytes:
    """ESEARCH."""
    numbers = found.numbers
    words = [b"ESEARCH (TAG %b)" % quote(tag)]
    if found.uid:
        words.append(b"UID")
    shown: list[MessageRow] = []
    if numbers:
        # RFC 5267 §3.1: of a SORT, MIN and MAX are the first and the last in its order.
        if returns.wants("MIN"):
            words.append(b"MIN %d" % numbers[0])
            shown.append(found.rows[0])
        if returns.wants("MAX"):
            words.append(b"MAX %d" % numbers[-1])
            shown.append(found.rows[-1])
    if returns.partial is not None:
        places = returns.partial.of(list(range(len(numbers))))
        chosen = [numbers[place] for place in places]
        shown += [found.rows[place] for place in places]
        words.append(b"PARTIAL (%b %b)" % (returns.partial.octets, _set(found, chosen) or b"NIL"))
    if numbers and returns.wants("ALL"):
        words.append(b"ALL %b" % _set(found, numbers))
        shown = list(found.rows)
    if returns.wants("COUNT"):
        words.append(b"COUNT %d" % len(numbers))
        shown = list(found.rows)
    if found.mod_seq and shown:
        # RFC 7162 §3.1.10: of MIN and MAX alone, the mod-sequences of those messages only.
        words.append(b"MODSEQ %d" % max(row.mod_seq for row in shown))
    return b" ".join(words)


def _set(found: Found, numbers: Sequence[int]) -> bytes:
    return write_pairs_in_order(numbers) if found.sorted else write_numbers(numbers)


def to_save(found: Found, returns: Returns) -> list[MessageRow]:
    """RFC 5182 §2.1: with MIN or MAX only these are kept, else all that was found; of PARTIAL that part."""
    rows = list(found.rows)
    options = returns.options - {"SAVE", "UPDATE", "CONTEXT"}
    if returns.partial is not None and not options:
        return [rows[place] for place in returns.partial.of(list(range(len(rows))))]
    if options and options <= {"MIN", "MAX"}:
        kept = []
        if rows and "MIN" in options:
            kept.append(rows[0])
        if rows and "MAX" in options and (not kept or rows[-1] is not kept[0]):
            kept.append(rows[-1])
        return kept
    return rows
