"""The same messages to Dovecot and to us: what the answers mean is compared, and every kind of difference is named.

A private Dovecot with its own configuration, on a free port of 127.0.0.1.
"""

import imaplib
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailsandbox.message.rendering import render

CONFIGURATION = """
base_dir = {root}/run
log_path = {root}/log
protocols = imap
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{root}/mail
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={mail_user} gid={mail_group} home={root}/mail
}}
"""


@pytest.fixture(scope="module")
def dovecot(tmp_path_factory) -> Iterator[imaplib.IMAP4]:
    program = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dovecot is not installed")
        pytest.skip("dovecot is not installed")
    root = Path(tmp_path_factory.mktemp("dovecot", numbered=True))
    is_root = os.geteuid() == 0
    me = pwd.getpwuid(os.geteuid())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mail = pwd.getpwnam("nobody") if is_root else me
    (root / "mail").mkdir()
    if is_root:
        os.chown(root / "mail", mail.pw_uid, mail.pw_gid)
        for folder in (root, *root.parents[:-2]):
            folder.chmod(folder.stat().st_mode | 0o011)
    configuration = root / "dovecot.conf"
    configuration.write_text(
        CONFIGURATION.format(
            root=root,
            port=port,
            user="dovecot" if is_root else me.pw_name,
            group="dovecot" if is_root else me.pw_gid,
            mail_user=mail.pw_uid,
            mail_group=mail.pw_gid,
        )
    )
    process = subprocess.Popen([program, "-F", "-c", configuration], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        client = connected(port, process)
        yield client
        client.logout()
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def connected(port: int, process: subprocess.Popen) -> imaplib.IMAP4:
    deadline = time.monotonic() + 10
    while True:
        try:
            client = imaplib.IMAP4("127.0.0.1", port)
        except OSError:
            assert process.poll() is None, "dovecot did not start"
            assert time.monotonic() < deadline, "dovecot does not answer"
            continue
        client.login("someone", "secret")
        return client


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
def test_real_mail_means_to_us_what_it_means_to_dovecot_but_for_the_kinds_named(dovecot, corpus, imap_list):
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
        if ours != answers(dovecot, octets, imap_list):
            unexplained.append(name)
    assert unexplained == []
    assert compared > 700
