"""The wire transcripts: each is a conversation with a real server over a socket."""

import ssl

import pytest
from pop3_player import TRANSCRIPTS, Player, sources


def transcripts():
    for path in sorted(TRANSCRIPTS.glob("*.txt")):
        marks = [pytest.mark.rfc(number, section) for number, section in sources(path)]
        assert marks, f"{path.name} names no RFC"
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.fixture
def script(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", list(transcripts()))
async def test_the_transcript_is_what_happens(path, script, pop3, identity):
    client_tls = ssl.create_default_context(cafile=str(identity.authority))
    await Player(pop3, client_tls).play(path.name, script)
