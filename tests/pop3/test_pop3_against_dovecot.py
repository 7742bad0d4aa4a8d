"""The same scripts to Debian's dovecot-pop3d and to us: what the answers mean is compared, each difference is named."""

import asyncio
import re

import pytest

BOB = "bob@beta.test"

LETTERS = [
    b"From: ann@alpha.test\r\nSubject: one\r\n\r\nHello Bob,\r\nthis is Ann.\r\n",
    b"Subject: dots\r\n.in-header: x\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n",
    b"Subject: only a header\r\n\r\n",
    b"Subject: 8-bit \xe9\r\n\r\n\xc3\xa9t\xe9 \xff\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 70_000 + b"\r\n.\r\n",
    b"Subject: folded\r\n\tand on\r\nReceived: a\r\nReceived: b\r\n\r\n" + b"line\r\n" * 50,
]

LOGIN = [f"USER {BOB}", "PASS secret"]

SCRIPTS = {
    "before login": ["STAT", "FOO", "USER", f"USER {BOB}", "QUIT"],
    "pass first": ["PASS secret", "QUIT"],
    "wrong password": [f"USER {BOB}", "PASS wrong", f"USER {BOB}", "PASS secret", "STAT", "QUIT"],
    "auth plain": ["AUTH PLAIN AGJvYkBiZXRhLnRlc3QAc2VjcmV0", "STAT", "QUIT"],
    "auth plain, asked": ["AUTH PLAIN", "AGJvYkBiZXRhLnRlc3QAc2VjcmV0", "STAT", "QUIT"],
    "auth login": ["AUTH LOGIN", "Ym9iQGJldGEudGVzdA==", "c2VjcmV0", "STAT", "QUIT"],
    "auth refused": ["AUTH GSSAPI", "AUTH PLAIN", "*", "AUTH PLAIN AGJvYkBiZXRhLnRlc3QAd3Jvbmc=", "QUIT"],
    "auth malformed": ["AUTH PLAIN !!!", "QUIT"],
    "listing": [*LOGIN, "STAT", "LIST", "LIST 1", "LIST 6", "LIST 7", "LIST 0", "LIST x", "UIDL 7", "UIDL 0", "QUIT"],
    "retr": [*LOGIN, *[f"RETR {number}" for number in range(1, 7)], "RETR 7", "RETR 0", "RETR", "RETR x", "QUIT"],
    "top": [*LOGIN, *[f"TOP {number} {lines}" for number in range(1, 7) for lines in (0, 1, 2, 1000)], "QUIT"],
    "top refused": [*LOGIN, "TOP", "TOP 1", "TOP 0 1", "TOP 7 1", "TOP 1 x", "TOP 1 -1", "TOP x 1", "QUIT"],
    "dele": [*LOGIN, "DELE 1", "DELE 1", "RETR 1", "LIST 1", "UIDL 1", "TOP 1 1", "STAT", "LIST", "DELE 9", "RSET",
             "STAT", "LIST 1", "QUIT"],
    "dele and quit": [*LOGIN, "DELE 2", "DELE 3", "QUIT"],
    "noop and rset": [*LOGIN, "NOOP", "RSET", "noop", "Stat", "QUIT"],
    "after login": [*LOGIN, f"USER {BOB}", "PASS secret", "AUTH PLAIN", "FOO", "STLS", "QUIT"],
    "big numbers": [*LOGIN, "RETR 4294967296", "RETR 99999999999999999999", "DELE 18446744073709551617", "LIST -1",
                    "QUIT"],
    "capa": ["CAPA", *LOGIN, "CAPA", "QUIT"],
}  # fmt: skip

MULTI = {"LIST", "UIDL", "CAPA"}


def digest(command: str, reply: list[bytes]) -> tuple[str, object]:
    """What a reply means: its sign and response code, and what a client takes from it."""
    first = reply[0].decode()
    sign = first.split()[0]
    word = command.split(" ")[0].upper()
    if sign == "-ERR":
        code = re.match(r"-ERR (\[[A-Z/-]+\])", first)
        return sign, code[1] if code else ""
    match word:
        case "STAT" | "LIST" if len(reply) == 1:
            return sign, first.split()[1:3]
        case "LIST" | "RETR" | "TOP":
            return sign, reply[1:]
        case "UIDL":
            return sign, len(reply)
        case _:
            return sign, ""


async def converse(host: str, port: int, script: list[str]) -> list[tuple[str, object]]:
    """Each command's meaning, one after the other; ("end", "") where the server has closed."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    meanings = []
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"+OK")
        for command in script:
            try:
                writer.write(command.encode() + b"\r\n")
                first = await reader.readline()
            except ConnectionError:
                first = b""
            if not first:
                meanings.append(("end", ""))
                break
            reply = [first]
            word, _, argument = command.partition(" ")
            if first.startswith(b"+OK") and (word in ("RETR", "TOP") or (word in MULTI and not argument)):
                while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
                    reply.append(line)
            meanings.append(digest(command, reply))
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass
    return meanings


@pytest.fixture
def filled_dovecot(dovecot):
    """The maildrop with LETTERS in it, and nothing else."""
    dovecot.doveadm("expunge", "-u", BOB, "mailbox", "INBOX", "ALL", check=False)
    for letter in LETTERS:
        dovecot.doveadm("save", "-u", BOB, octets=letter)
    return dovecot.pop3


# What we do differently, on purpose: (script, number of the command) -> why. Their meanings must then differ.
DIFFERENT = {
    ("before login", 2): "RFC 1939 §7: USER has an argument; Dovecot takes the empty name and refuses at PASS",
    ("auth refused", 0): "RFC 3206 §5: [AUTH] is about credentials; none were given yet",
    ("auth malformed", 0): "RFC 3206 §5: what is not base64 are no credentials",
}


@pytest.mark.client("dovecot")
@pytest.mark.parametrize("name", SCRIPTS)
async def test_dovecot_and_we_answer_alike(name, filled_dovecot, pop3):
    from mailsandbox.store.credentials import AccountSpec

    box = await pop3(accounts={BOB: AccountSpec("secret")}, any_account=False)
    await box.put(*LETTERS)
    theirs = await converse("127.0.0.1", filled_dovecot, SCRIPTS[name])
    ours = await converse(box.host, box.port, SCRIPTS[name])
    for number, (command, their, our) in enumerate(zip(SCRIPTS[name], theirs, ours, strict=False)):
        if (name, number) in DIFFERENT:
            assert our != their, f"{command}: no longer different: {DIFFERENT[name, number]}"
        else:
            assert our == their, command
    assert len(ours) == len(theirs)
