"""The client's side of a transaction, played from transcripts: `C:` what it must say, `S:` what the server answers.

`> key: value` sets up: recipients (b@beta.test each by name), pipelining, bdat, lmtp, octets (with \\r\\n escapes).
`!` an action: `! lost WHY`. `= name: reply` the result of a recipient in the end, `= uncertain: names`,
`= reusable: yes|no`. In the transcript message data stand as they are on the wire, CRLF as line ends.
"""

import re
from pathlib import Path

import pytest

from mailsandbox.relay.transaction import Mail, Transaction
from mailsandbox.smtp.reply_reader import ReplyReader

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("transaction_*.txt"))


def play(text: str) -> None:
    setup: dict[str, str] = {}
    names: list[str] = []
    transaction: Transaction | None = None
    said = b""
    reader = ReplyReader()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark, _, rest = line.partition(" ")
        if mark == ">":
            key, _, value = rest.partition(": ")
            setup[key] = value
            continue
        if transaction is None:
            names = setup["recipients"].split()
            transaction = Transaction(
                Mail(
                    b"MAIL FROM:<a@alpha.test>",
                    [f"RCPT TO:<{name}@beta.test>".encode() for name in names],
                    setup.get("octets", "Hello\\r\\n").encode().decode("unicode_escape").encode("latin-1"),
                    bdat="bdat" in setup,
                    lmtp="lmtp" in setup,
                    pipelining="pipelining" in setup,
                )
            )
        said += b"".join(bytes(piece.octets) for piece in transaction.drain())
        match mark:
            case "C:":
                expected = rest.encode("latin-1") + b"\r\n"
                assert said.startswith(expected), f"line {number}: {expected!r} expected, said {said!r}"
                said = said.removeprefix(expected)
            case "S:":
                assert said == b"", f"line {number}: said too much: {said!r}"
                for reply in reader.feed(rest.encode() + b"\r\n"):
                    transaction.feed(reply)
            case "!":
                transaction.lost(rest.removeprefix("lost "))
            case "=":
                assert said == b"", f"line {number}: said too much: {said!r}"
                assert transaction.done, f"line {number}: not done, waits for {transaction.stage}"
                check(transaction, names, rest)
    assert transaction.stage == "DONE"
    assert all(result is not None for result in transaction.results)


def check(transaction: Transaction, names: list[str], text: str) -> None:
    key, _, value = text.partition(":")
    value = value.strip()
    if key == "reusable":
        assert transaction.reusable is (value == "yes")
    elif key == "uncertain":
        assert {names[index] for index in transaction.uncertain} == set(value.split())
    else:
        assert str(transaction.results[names.index(key)]) == value


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.rfc(5321, "3.3")
def test_conversation_is_as_the_transcript_says(path):
    play(path.read_text())


def test_transcripts_are_there():
    assert len(TRANSCRIPTS) > 15


@pytest.mark.rfc(3030, "2")
def test_large_message_goes_in_chunks_and_the_first_refusal_counts():
    octets = bytes(2_500_000)
    transaction = Transaction(Mail(b"MAIL FROM:<>", [b"RCPT TO:<b@beta.test>"], octets, bdat=True, pipelining=True))
    assert [piece.shown for piece in transaction.drain()] == ["MAIL FROM:<>", "RCPT TO:<b@beta.test>"]
    for reply in ReplyReader().feed(b"250 ok\r\n250 ok\r\n"):
        transaction.feed(reply)
    pieces = transaction.drain()
    assert [piece.shown for piece in pieces[::2]] == ["BDAT 1048576", "BDAT 1048576", "BDAT 402848 LAST"]
    assert b"".join(bytes(piece.octets) for piece in pieces[1::2]) == octets
    for reply in ReplyReader().feed(b"250 ok\r\n452 4.3.1 no room\r\n503 5.5.1 RSET first\r\n"):
        transaction.feed(reply)
    assert [piece.shown for piece in transaction.drain()] == ["RSET"]
    assert str(transaction.results[0]) == "452 4.3.1 no room"


def test_message_without_dots_is_handed_on_without_a_copy():
    octets = b"x" * 70 + b"\r\n"
    transaction = Transaction(Mail(b"MAIL FROM:<>", [b"RCPT TO:<b@beta.test>"], octets, pipelining=True))
    transaction.drain()
    for reply in ReplyReader().feed(b"250 ok\r\n250 ok\r\n354 go\r\n"):
        transaction.feed(reply)
    assert any(piece.octets is octets for piece in transaction.drain())


def test_transcript_shows_counts_instead_of_message_data():
    transaction = Transaction(
        Mail(b"MAIL FROM:<>", [b"RCPT TO:<b@beta.test>"], b"secret\r\n", bdat=True, pipelining=True)
    )
    shown = [piece.shown for piece in transaction.drain()]
    assert shown == [
        "MAIL FROM:<>",
        "RCPT TO:<b@beta.test>",
        "BDAT 8 LAST",
        "[8 octets of message data]",
    ]
    assert not re.search("secret", " ".join(shown))
