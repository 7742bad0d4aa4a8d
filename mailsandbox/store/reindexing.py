"""Rendering stored contents again, a few in each transaction, while the store stays in use."""

import logging
from collections.abc import Callable
from typing import Final

from mailsandbox.database.blobs import Blobs
from mailsandbox.database.tx import Database, Tx
from mailsandbox.errors import DamagedContent, NoSuchMessage
from mailsandbox.store.contents import Contents
from mailsandbox.store.textindex import TextIndex
from mailsandbox.store.unit import Unit

_log = logging.getLogger(__name__)

_CHUNK: Final = 50  # contents in one transaction


async def reindex(
    database: Database, contents: Contents, texts: TextIndex, progress: Callable[[int, int], None]
) -> int:
    """Render all again; returns how many were."""
    total: int = await database.read(lambda tx: tx.execute("SELECT count(*) FROM contents").fetchone()[0])
    done, last = 0, 0
    while keys := await database.read(lambda tx, after=last: _keys(tx, after)):  # type: ignore[misc]
        await database.write(lambda tx, chunk=keys: _render(tx, chunk, contents, texts), heavy=True)  # type: ignore[misc]
        done += len(keys)
        last = keys[-1]
        progress(done, max(done, total))
    await texts.flush()
    return done


def _keys(tx: Tx, after: int) -> list[int]:
    rows = tx.execute("SELECT id FROM contents WHERE id > ? ORDER BY id LIMIT ?", (after, _CHUNK))
    return [row[0] for row in rows]


def generation(tx: Tx) -> int:
    """How many times contents were rendered anew."""
    found: int = tx.execute("SELECT value FROM meta WHERE name = 'renderings'").fetchone()[0]
    return found


def _render(tx: Tx, keys: list[int], contents: Contents, texts: TextIndex) -> None:
    unit = Unit(tx, 0.0)
    blobs = Blobs()
    for key in keys:
        try:
            octets = blobs.get(tx, key)
        except NoSuchMessage:
            continue  # expunged since its key was read
        except DamagedContent as error:
            _log.error("stays rendered as it is: %s", error)
            continue
        contents.replace_rendering(unit, key, octets)
    tx.execute("UPDATE meta SET value = value + 1 WHERE name = 'renderings'")
    tx.after_commit(lambda: texts.add(unit.texts))
