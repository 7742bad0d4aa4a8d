"""Every command and extension as it goes over the wire: the transcripts beside this file, each naming its RFC."""

import re

import pytest
import uvloop
from smtp_player import Player, transcripts
from smtp_services import Services

_SOURCE = re.compile(r"^# RFC (\d+) §([\d.]+)", re.MULTILINE)


def _case(path):
    sources = _SOURCE.findall(path.read_text(encoding="utf-8"))
    marks = [pytest.mark.rfc(int(number), section) for number, section in sources]
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [_case(path) for path in transcripts()])
async def test_the_conversation_goes_as_written(path, serve, client_tls):
    await Player(path.read_text(encoding="utf-8"), serve, client_tls).play()


@pytest.mark.parametrize("path", transcripts(), ids=lambda path: path.stem)
def test_the_conversation_goes_the_same_on_uvloop_as_the_daemon_runs(path, server_tls, client_tls):
    async def play() -> None:
        async with Services(server_tls) as serve:
            await Player(path.read_text(encoding="utf-8"), serve, client_tls).play()

    uvloop.run(play())


def test_every_transcript_names_its_source():
    assert len(transcripts()) > 20
    for path in transcripts():
        assert _SOURCE.search(path.read_text(encoding="utf-8")), path.name
