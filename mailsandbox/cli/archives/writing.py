"""A new archive. It is written beside its place and put there when it is whole; what fails leaves nothing."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from mailsandbox.cli.archives.maildir import MaildirWriter
from mailsandbox.cli.archives.mbox import write_mbox
from mailsandbox.cli.archives.model import Kept
from mailsandbox.cli.archives.trees import safe_name, write_file


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when the block ends well. Raises click.ClickException, with nothing left."""
    refuse_existing(path)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                yield file  # type: ignore[misc]  # a wrapper that is a binary file in all but name
                file.close()
                refuse_existing(path)
                temporary.replace(path)
            except BaseException:
                temporary.unlink()
                raise
    except OSError as error:
        raise _cannot_be_written(path, error) from None


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """The same for a directory."""
    refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise _cannot_be_written(path, error) from None


def refuse_existing(path: Path) -> None:
    """Nothing that is there is overwritten. Raises click.ClickException."""
    if path.exists() or path.is_symlink():
        raise click.ClickException(f"{path}: is there already; nothing was written")


def _cannot_be_written(path: Path, error: OSError) -> click.ClickException:
    return click.ClickException(f"{path}: cannot be written: {error.strerror or error}; nothing of it was kept")


class Writer:
    """Writes messages one after the other; a context manager, the archive is there when it is left without an error."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        self._stack = contextlib.ExitStack()
        self._count = 0
        self._maildirs: dict[str, MaildirWriter] = {}

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            if self._kind == "mbox":
                self._file = stack.enter_context(new_file(self._path))
            else:
                self._root = stack.enter_context(new_directory(self._path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool | None:
        return self._stack.__exit__(kind, error, trace)  # type: ignore[arg-type]  # trace is a traceback

    def add(self, message: Kept) -> None:
        """Write one more. What the disk refuses, the `with` block turns into a click.ClickException."""
        self._count += 1
        match self._kind:
            case "mbox":
                write_mbox(self._file, message)
            case "maildir":
                root = safe_name(message.account) if message.account else "."
                if root not in self._maildirs:
                    self._maildirs[root] = MaildirWriter(self._root / root)
                self._maildirs[root].add(message)
            case _:
                write_file(self._root, message, self._count)
