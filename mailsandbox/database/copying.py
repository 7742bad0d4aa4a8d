"""The whole of a PostgreSQL schema into memory and back, by COPY."""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mailsandbox.database.postgres_tx import PostgresTx
from mailsandbox.database.tx import Tx


@dataclass(frozen=True, slots=True)
class Image:
    """Tables as COPY writes them, and where their sequences stood."""

    tables: dict[str, bytes]
    sequences: dict[str, tuple[int, bool]]


def copy_out(tx: Tx) -> Image:
    """Every table of the current schema."""
    assert isinstance(tx, PostgresTx)
    names = [
        row[0]
        for row in tx.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename")
    ]
    tables: dict[str, bytes] = {}
    for name in names:
        with _copy(tx, "COPY {} TO STDOUT (FORMAT BINARY)", name) as copy:
            tables[name] = b"".join(bytes(block) for block in copy)
    sequences: dict[str, tuple[int, bool]] = {}
    for (name,) in tx.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema()").fetchall():
        sequences[name] = tx.connection.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name))
        ).fetchone() or (1, False)
    return Image(tables, sequences)


def copy_in(tx: Tx, image: Image) -> None:
    """Empty the tables and fill them again."""
    assert isinstance(tx, PostgresTx)
    tx.memo.clear()
    # DELETE, not TRUNCATE: readers keep their snapshots, and small tables are emptied sooner.
    for name in image.tables:
        tx.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
    for name, octets in image.tables.items():
        with _copy(tx, "COPY {} FROM STDIN (FORMAT BINARY)", name) as copy:
            copy.write(octets)
    for name, (last, called) in image.sequences.items():
        tx.execute("SELECT setval(CAST(? AS regclass), ?, ?)", (name, last, called))
    tx.announce("restored")


def _copy(tx: PostgresTx, statement: str, table: str) -> Any:  # Any: psycopg's context manager of a Copy
    cursor = tx.connection.cursor()
    return cursor.copy(sql.SQL(statement).format(sql.Identifier(table)))
