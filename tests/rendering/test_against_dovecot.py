"""The same messages to Dovecot and to us: what the answers mean is compared, and every kind of difference is named."""

import imaplib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_dovecot import PASSWORD, Dovecot

from mailsandbox.message.rendering import render


@pytest.fixture(scope="module")
def client(dovecot: Dovecot) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", dovecot.imap) as client:
        client.login("someone", PASSWORD)
        yield client


def settled() -> dict[str, str]:
    lines = (Path(__file__).parent / "dovecot_differences.tsv").read_text().splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))


def answers(client: imaplib.IMAP4, octets: bytes, imap_list) -> list:
    for command, *arguments in (("create", "Corpus"), ("append", "Corpus", None, None, octets), ("select", "Corpus")):
        status, said = getattr(client, command)(*arguments)
        assert status == "OK", (command, said)
    _, data = client.fetch("*", "(ENVELOPE BODY BODYSTRUCTURE)")
    pieces = [b"\r\n".join(piece) if isinstance(piece, tuple) else piece for piece in data]
    wire = b"".join(pieces)
    at = wire.index(b"(ENVELOPE")
    names = (b"(ENVELOPE ", b" BODY ", b" BODYSTRUCTURE ")
    items = imap_list(wire[at:].replace(names[0], b"(", 1).replace(names[1], b" ", 1).replace(names[2], b" ", 1))
    client.close()
    client.delete("Corpus")
    return items


@pytest.mark.client("dovecot")
@pytest.mark.rfc(9051, "7.5.2")
def test_real_mail_means_to_us_what_it_means_to_dovecot_but_for_the_kinds_named(client, corpus, imap_list):
    known = settled()
    unexplained, compared = [], 0
    for path in corpus:
        octets = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())  # as imaplib appends
        name = "/".join(path.parts[-2:])
        if not octets or b"\0" in octets or name in known:
            continue
        rendered = render(octets)
        ours = [imap_list(wire) for wire in (rendered.envelope, rendered.body, rendered.bodystructure)]
        compared += 1
        if ours != answers(client, octets, imap_list):
            unexplained.append(name)
    assert unexplained == []
    assert compared > 700
