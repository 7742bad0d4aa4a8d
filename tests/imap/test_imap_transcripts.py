"""Every transcript of transcripts/ is played to a server; what the tables offer must occur in one."""

from pathlib import Path

import pytest
from postgres_cluster import Cluster

from mailsandbox.access.imap.capabilities import CAPABILITIES
from mailsandbox.access.imap.table import COMMANDS
from tests.imap import transcript

TRANSCRIPTS = [transcript.read(path) for path in sorted(transcript.FOLDER.glob("*.txt"))]


played = pytest.mark.parametrize(
    "played",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.rfc(number, section) for number, section in each.rfcs])
        for each in TRANSCRIPTS
    ],
)


@played
async def test_the_conversation_goes_as_written(played: transcript.Transcript) -> None:
    assert played.title, "a transcript begins with a sentence"
    assert played.rfcs, "a transcript names its source"
    await transcript.play(played)


@played
async def test_the_conversation_goes_as_written_on_a_file(played: transcript.Transcript, tmp_path: Path) -> None:
    await transcript.play(played, str(tmp_path / "data"))


@played
async def test_the_conversation_goes_as_written_on_postgresql(played: transcript.Transcript, postgres: Cluster) -> None:
    await transcript.play(played, postgres.new_database())


def test_every_command_occurs_in_a_transcript() -> None:
    said = set()
    for each in TRANSCRIPTS:
        for side, _, text in each.steps:
            words = text.upper().split(" ")
            if side == "C" and len(words) > 1:
                said |= {words[1], " ".join(words[1:3])}
    assert set(COMMANDS) - said == set()


def test_every_capability_is_proved_by_a_transcript() -> None:
    proved = {capability for each in TRANSCRIPTS for capability in each.capabilities}
    # These need TLS, which a text file cannot show: test_imap_server.py has them.
    assert set(CAPABILITIES) - proved - {"STARTTLS", "LOGINDISABLED", "COMPRESS=DEFLATE", "INPROGRESS"} == set()
    assert proved - set(CAPABILITIES) == set()
