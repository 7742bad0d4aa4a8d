"""From the word a user gives to a database: ":memory:", a directory, or postgresql://…"""

from mailsandbox.database.tx import Database


def is_url(target: str) -> bool:
    """Whether `target` names a database that several daemons may share."""
    return target.startswith(("postgresql://", "postgres://"))


def open_database(target: str) -> Database:
    """The database `target` names; nothing is opened before its `start`."""
    if is_url(target):
        from mailsandbox.database.postgres import PostgresDatabase  # psycopg is an extra, 60 ms to import

        return PostgresDatabase(target)
    if target == ":memory:":
        from mailsandbox.database.memory import MemoryDatabase

        return MemoryDatabase()
    from mailsandbox.database.file import FileDatabase

    return FileDatabase(target)
