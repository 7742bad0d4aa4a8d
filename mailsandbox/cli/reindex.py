"""`mailsandbox reindex`: what was rendered at delivery is rendered again, after an upgrade that renders better."""

import asyncio
from pathlib import Path

import click

from mailsandbox.cli.daemon import daemon
from mailsandbox.cli.options import daemon_options, json_option
from mailsandbox.cli.printing import many, say, say_json
from mailsandbox.cli.progress import Told, bar


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Of this directory, while no daemon uses it."
)
@click.option("--database", metavar="URL", help="Of this PostgreSQL database; start its daemons anew afterwards.")
@json_option
@daemon_options
def command(data: Path | None, database: str | None, as_json: bool, ready_file: Path | None, url: str | None) -> None:
    """Render every stored message again: ENVELOPE, BODYSTRUCTURE, parts, previews, texts for searching.

    The running daemon does it while it serves on. Without a daemon: --data or --database, as for `serve`.
    """
    if data is not None and database is not None:
        raise click.UsageError("--data and --database exclude each other: give one of them")
    with bar("rendering again", off=as_json) as told:
        if data is not None or database is not None:
            contents = asyncio.run(_offline(data, database or "", told))
        else:
            contents = _online(ready_file, url, told)
    if as_json:
        say_json({"contents": contents})
    else:
        say(f"{many(contents, 'distinct message')} rendered again")


async def _offline(data: Path | None, database: str, told: Told) -> int:
    from mailsandbox.runtime.offline import offline_store

    async with offline_store(data=data, database=database) as store:
        return await store.reindex(told)


def _online(ready_file: Path | None, url: str | None, told: Told) -> int:
    with daemon(ready_file, url) as found:
        contents: int = found.long_work("/v1/reindex", told)["contents"]
    return contents
