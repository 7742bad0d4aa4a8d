"""A private Dovecot for tests and benchmarks: its own configuration and data, on free ports of 127.0.0.1.

Any login is an account with mailboxes of its own (sdbox, Dovecot's fastest format); the password is PASSWORD.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from absent import absent

PASSWORD = "secret"
DEADLINE = 20.0  # seconds to listen

# Services must not chroot: their directories belong to whoever runs the tests.
CONFIGURATION = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 100
mail_location = sdbox:{root}/mail/%u
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={mail_uid} gid={mail_gid} home={root}/mail/%u
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
{more}
"""


@dataclass(frozen=True)
class Dovecot:
    """A running server."""

    root: Path
    imap: int
    pop3: int

    def doveadm(self, *arguments: str, octets: bytes = b"", check: bool = True) -> None:
        """Dovecot's own tool, on this server."""
        command = [_program("doveadm"), "-c", str(self.root / "dovecot.conf"), *arguments]
        subprocess.run(command, input=octets, check=check, stderr=None if check else subprocess.DEVNULL)


def installed() -> bool:
    return _program("dovecot") is not None


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")


@contextlib.contextmanager
def private_dovecot(more: str = "") -> Iterator[Dovecot]:
    """Start one; `more`: lines for the end of its configuration."""
    program = _program("dovecot")
    if program is None:
        raise FileNotFoundError("dovecot")
    # Not below pytest's folder, which is closed to the other users that Dovecot's processes run as.
    with tempfile.TemporaryDirectory(prefix="mailsandbox-dovecot-") as directory:
        root = Path(directory)
        is_root = os.geteuid() == 0
        mail = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.geteuid())
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            imap, pop3 = first.getsockname()[1], second.getsockname()[1]
        (root / "mail").mkdir()
        if is_root:
            root.chmod(0o755)
            os.chown(root / "mail", mail.pw_uid, mail.pw_gid)
        (root / "dovecot.conf").write_text(
            CONFIGURATION.format(
                root=root,
                user="dovecot" if is_root else mail.pw_name,
                group="dovecot" if is_root else mail.pw_gid,
                password=PASSWORD,
                mail_uid=mail.pw_uid,
                mail_gid=mail.pw_gid,
                imap=imap,
                pop3=pop3,
                more=more,
            )
        )
        process = subprocess.Popen(
            [program, "-F", "-c", str(root / "dovecot.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for port in (imap, pop3):
                _listening(port, process)
            yield Dovecot(root, imap, pop3)
        finally:
            process.terminate()
            process.wait(10)


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("dovecot did not start")
        time.sleep(0.02)


def required() -> None:
    """Missing, it fails the test when CI=true and skips it by name otherwise."""
    if not installed():
        absent("dovecot")


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    """The module's server."""
    required()
    with private_dovecot() as running:
        yield running
