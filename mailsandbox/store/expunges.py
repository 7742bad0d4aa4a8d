"""The record of expunged UIDs, for clients that come back (RFC 7162 §3.2)."""

from typing import Final

import msgspec

from mailsandbox.database.tx import Tx
from mailsandbox.store.model import Uid

_unpack: Final = msgspec.msgpack.Decoder(list[int]).decode


def read(tx: Tx, mailbox_key: int, since: int) -> list[Uid]:
    """UIDs of a mailbox expunged after mod-sequence `since`, ascending."""
    uids: list[int] = []
    for (octets,) in tx.execute("SELECT uids FROM expunged WHERE mailbox_id = ? AND mod_seq > ?", (mailbox_key, since)):
        uids += _unpack(octets)
    return [Uid(uid) for uid in sorted(uids)]
