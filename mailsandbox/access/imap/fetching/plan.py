"""A FETCH compiled: a template for a message's line, the columns that fill it, what must be read for them. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mailsandbox.access.imap.fetching.columns import Batch, Column, column
from mailsandbox.access.imap.grammar.fetch import Attribute, Plain

_FLAGS: Final = Plain("FLAGS")
_UID: Final = Plain("UID")
_MODSEQ: Final = Plain("MODSEQ")


@dataclass(frozen=True, slots=True)
class Plan:
    """`rendered`: columns of Rendered to read. `sets_seen`: \\Seen is set on messages that lack it."""

    template: bytes
    columns: tuple[Column, ...]
    rendered: tuple[str, ...]
    contents: bool
    sets_seen: bool
    has_flags: bool
    kept: Column | None = None  # header fields, where nothing else has to be read

    @property
    def reads(self) -> bool:
        """Whether the store must be asked; else everything is in the rows."""
        return self.contents or bool(self.rendered)

    def lines(self, batch: Batch) -> list[bytes]:
        """The responses."""
        template = self.template
        return [
            template % values
            for values in zip(batch.numbers, *[each.values(batch) for each in self.columns], strict=True)
        ]


@lru_cache(maxsize=512)
def compile_plan(attributes: tuple[Attribute, ...], *, uid: bool, uid_only: bool) -> Plan:
    """`uid`: UID is given whether asked for or not (RFC 9051 §6.4.9). `uid_only`: UIDFETCH lines (RFC 9586 §3.3)."""
    wanted = [each for each in attributes if not (uid_only and each == _UID)]
    if uid and not uid_only and _UID not in wanted:
        wanted.insert(0, _UID)
    columns = tuple(column(each) for each in wanted)
    word = b"UIDFETCH" if uid_only else b"FETCH"
    labelled = [each for each in columns if each.label]
    alone = len(labelled) == 1 and all(each is labelled[0] or not (each.rendered or each.contents) for each in columns)
    template = b"* %%d %b (%b)\r\n" % (word, b" ".join(each.template for each in columns))
    return Plan(
        template,
        columns,
        tuple(dict.fromkeys(name for each in columns for name in each.rendered)),
        any(each.contents for each in columns),
        any(each.sets_seen for each in columns),
        _FLAGS in wanted,
        labelled[0] if alone else None,
    )


def with_flags(attributes: tuple[Attribute, ...], *, mod_seq: bool) -> tuple[Attribute, ...]:
    """The attributes with FLAGS (and MODSEQ), for messages that were just marked \\Seen."""
    added = [each for each in ((_FLAGS, _MODSEQ) if mod_seq else (_FLAGS,)) if each not in attributes]
    return (*attributes, *added)
