"""A private Postfix: its own configuration, queue and process on a high port; relays all mail to a given port."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

# The queue manager wakes each second and not every 300: a deferred message that its own retry finds still locked by the
# last attempt goes back to "incoming", where nobody else would look for it.
SERVICES = """\
{address}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
retry unix - - n - - error
error unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
config_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{onward}
smtp_tls_security_level = none
smtputf8_enable = yes
smtpd_discard_ehlo_keywords = {discard}
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Postfix:
    """`await start()`, then `port`; mail for anyone goes on to `onward`."""

    def __init__(self, onward: int, *, discard: str = "", settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-"))  # pytest's own folders are closed to the user postfix
        self.port = free_port()
        self._onward = onward
        self._discard = discard
        self._settings = settings

    def _write(self) -> None:
        user = pwd.getpwnam("postfix")
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        os.chmod(self.folder, 0o755)
        shutil.chown(self.folder / "data", user.pw_uid, user.pw_gid)
        values = {"folder": self.folder, "onward": self._onward, "discard": self._discard}
        (self.folder / "etc" / "main.cf").write_text(MAIN.format(**values) + self._settings)
        (self.folder / "etc" / "master.cf").write_text(SERVICES.format(address="127.0.0.1", port=self.port))

    async def start(self) -> "Postfix":
        self._write()
        await asyncio.to_thread(self._run, "start")
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                else:
                    writer.transport.abort()
                    return self

    async def aclose(self) -> None:
        await asyncio.to_thread(self._run, "stop")
        await asyncio.to_thread(shutil.rmtree, self.folder)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def _run(self, verb: str) -> None:
        command = ["postfix", "-c", str(self.folder / "etc"), verb]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if result.returncode:
            raise RuntimeError(f"postfix {verb}: {result.stdout}{result.stderr}{self.log()}")
