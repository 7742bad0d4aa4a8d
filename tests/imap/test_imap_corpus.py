"""Every section of every message of the corpus of real mail, asked of Dovecot and of us: the octets are the same.

Except where the structure is another: those messages are named in tests/rendering/dovecot_differences.tsv.
"""

import re
from pathlib import Path

import pytest
from private_dovecot import PASSWORD, private_dovecot, required

from tests.imap.differential.answers import pairs, tokens
from tests.imap.serving import ACCOUNT, serving
from tests.imap.wire import Wire
from tests.rendering.conftest import corpus  # noqa: F401

# 2.1 is left out: Dovecot takes a leaf for its own part 1.
SECTIONS = (
    "RFC822.SIZE", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "BODY.PEEK[]<7.100>", "BODY.PEEK[TEXT]<3.50>",
    "BODY.PEEK[HEADER.FIELDS (FROM SUBJECT RECEIVED)]", "BODY.PEEK[HEADER.FIELDS.NOT (FROM SUBJECT RECEIVED)]",
    "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[1]<5.20>", "BODY.PEEK[2]", "BODY.PEEK[2.MIME]",
    "BODY.PEEK[2.HEADER]", "BODY.PEEK[2.TEXT]", "BODY.PEEK[3.MIME]",
)  # fmt: skip
DIFFERENCES = Path(__file__).parents[1] / "rendering" / "dovecot_differences.tsv"
OTHER = {
    "nodemailer_mailparser/test__fixtures__decoderended.eml",  # a message/rfc822 of no octets
    "apache_spamassassin/t__data__nice__no_body.eml",  # no blank line: HEADER.FIELDS.NOT has one here, as HEADER.FIELDS
}
MAX_OCTETS = 2_000_000


async def answers(wire: Wire, letters: list[bytes]) -> list[dict]:
    for letter in letters:
        wire.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(letter), letter))
    for _ in letters:
        await wire.until(b"a OK")
    await wire.ok("SELECT INBOX")
    wire.send(b"f FETCH 1:* (%b)\r\n" % " ".join(SECTIONS).encode())
    return [dict(pairs(tokens(response)[3])) for response in (await wire.until(b"f "))[:-1]]


@pytest.mark.client("dovecot")
@pytest.mark.rfc(9051, "6.4.5.1")
async def test_the_sections_of_real_mail_are_those_of_dovecot(corpus: list[Path]) -> None:  # noqa: F811
    required()
    letters = {}
    for path in corpus:
        octets = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        if octets and b"\0" not in octets and len(octets) < MAX_OCTETS:
            letters["/".join(path.parts[-2:])] = octets
    with private_dovecot() as running:
        wire = await Wire.open("127.0.0.1", running.imap)
        await wire.line()
        await wire.ok(f"LOGIN {ACCOUNT} {PASSWORD}")
        theirs = await answers(wire, list(letters.values()))
        wire.close()
    async with serving() as server:
        ours = await answers(await server.login(), list(letters.values()))
    known = {line.split("\t")[0] for line in DIFFERENCES.read_text().splitlines()} | OTHER
    differing = {name for name, their, our in zip(letters, theirs, ours, strict=True) if their != our}
    assert differing <= known
    assert differing >= OTHER
    assert len(letters) - len(differing) > 700
