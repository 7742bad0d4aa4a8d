"""Aliases and lists: addresses that stand for others (RFC 5321 §3.9), and what becomes of the DSN parameters. Pure.

    alias   the members take its place in the envelope; the sender stays                  (RFC 5321 §3.9.1)
    list    the members get it anew, with the list's owner as envelope sender             (RFC 5321 §3.9.2)

An alias that names itself means its own mailbox. Invariant: an expansion ends, whatever the configuration says: one
that comes back to where it was is no expansion but a loop. Knows no mailbox and no queue.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from mailsandbox.message.envelope import NULL_PATH, Envelope, Recipient
from mailsandbox.smtp.xtext import encode_utf8_address, encode_xtext
from mailsandbox.store.credentials import canonical

MAX_DEPTH: Final = 20  # aliases within aliases; Sendmail stops at 10, Postfix at 1,000


@dataclass(frozen=True, slots=True)
class Alias:
    """What an address stands for. `owner`: the envelope sender of what a list sends on; "" for an alias."""

    members: tuple[str, ...]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class AliasLoop:
    """An expansion that comes back to itself, or does not end in sight: the addresses in their order."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return " -> ".join(self.path)


class Aliases:
    """The aliases of one site. `is_local` tells which addresses are its to expand; the others are the next site's."""

    def __init__(self, table: Mapping[str, Alias], *, is_local: Callable[[str], bool]) -> None:
        self._table = {canonical(address): alias for address, alias in table.items() if is_local(address)}
        self._heights: dict[str, int] = {}  # of those found to be without loop: aliases below them, the longest way
        self._loops = {address: loop for address in self._table if (loop := self._loop((address,))) is not None}

    def __bool__(self) -> bool:
        return bool(self._table)

    def find(self, address: str) -> Alias | None:
        """What the address stands for; None where it stands for itself."""
        return self._table.get(canonical(address))

    def loop(self, address: str) -> AliasLoop | None:
        """Whether the address can not be expanded."""
        return self._loops.get(canonical(address))

    def _loop(self, path: tuple[str, ...]) -> AliasLoop | None:
        alias = self._table.get(path[-1])
        height = 0
        for member in map(canonical, alias.members if alias else ()):
            if member == path[-1]:  # its own mailbox
                continue
            if member in path:
                return AliasLoop((*path, member))
            if member not in self._heights and (found := self._loop((*path, member))) is not None:
                return found
            height = max(height, 1 + self._heights[member])
            if height > MAX_DEPTH:
                return AliasLoop((*path, member))
        self._heights[path[-1]] = height
        return None


def expand(envelope: Envelope, recipient: Recipient, alias: Alias) -> Envelope:
    """The envelope for the members that take the recipient's place."""
    if alias.owner:
        # RFC 3461 §5.2.7.1: for the sender the list is where the message was delivered. What the list sends on is
        # another submission: none of his parameters for notifications goes with it, nor his deadline.
        members = tuple(Recipient(member) for member in alias.members)
        # RFC 5321 §4.5.5: a notification stays one, or a list that is its own owner would bounce to itself for ever.
        sender = alias.owner if envelope.reverse_path else NULL_PATH
        return msgspec.structs.replace(
            envelope, reverse_path=sender, recipients=members, ret="", envid="", deliver_by=""
        )
    # RFC 3461 §5.2.7.2: to one other address the parameters go on as they are.
    notify = recipient.notify
    if len(alias.members) > 1 and "SUCCESS" in notify:
        # RFC 3461 §5.2.7.3: for several, success is told once, as "expanded"; the members' failures are told as before.
        notify = (notify - {"SUCCESS"}) or frozenset({"NEVER"})
    # RFC 3461 §5.2.1 (d): who sends on may add it. §6.3 (d) would keep an added one out of our own reports; they name
    # it all the same: who wrote to "team" knows none of its members.
    orcpt = recipient.orcpt or original_recipient(recipient.address)
    return envelope.to(tuple(Recipient(member, notify, orcpt) for member in alias.members))


def original_recipient(address: str) -> str:
    """An ORCPT that names the address the sender knows (RFC 3461 §4.2, RFC 6533 §3)."""
    return f"rfc822;{encode_xtext(address)}" if address.isascii() else f"utf-8;{encode_utf8_address(address)}"
