"""Programs nobody here wrote fetch mail from the server: what they store is what was delivered, and nothing is left."""

import asyncio
import json
import os
import poplib
import pwd
import ssl
from pathlib import Path

import pytest
from absent import absent

from mailsandbox.store.credentials import AccountSpec

BOB = "bob@beta.test"
ACCOUNTS = {BOB: AccountSpec("secret")}
NPM = Path(__file__).parents[2] / ".venv" / "npm" / "node_modules"

LETTERS = [
    b"From: ann@alpha.test\r\nSubject: hello\r\nMessage-ID: <1@alpha.test>\r\n\r\nHello Bob,\r\nthis is Ann.\r\n",
    b"From: ann@alpha.test\r\nSubject: dots\r\nMessage-ID: <2@alpha.test>\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n",
    "From: ann@alpha.test\r\nSubject: =?utf-8?q?=C3=89t=C3=A9?=\r\nMessage-ID: <3@alpha.test>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "Été à la plage – déjà vu\r\n".encode(),
    b"From: ann@alpha.test\r\nSubject: large\r\nMessage-ID: <4@alpha.test>\r\n\r\n"
    + b"".join(b"%05d" % number + b"x" * 70 + b"\r\n" for number in range(6_000)),
    b"From: ann@alpha.test\r\nSubject: empty\r\nMessage-ID: <5@alpha.test>\r\n\r\n",
]


def bodies(letters) -> list[bytes]:
    """Bodies as Unix programs store them: line ends as LF; sorted, for the order of files means nothing."""
    return sorted(letter.replace(b"\r\n", b"\n").partition(b"\n\n")[2] for letter in letters)


async def run(*command, user=None, **variables) -> tuple[int, bytes]:
    """Exit code and everything printed; the program has 60 seconds."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    try:
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, printed


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
async def box(pop3):
    started = await pop3(accounts=ACCOUNTS)
    await started.put(*LETTERS)
    return started


@pytest.mark.client("poplib")
async def test_poplib_fetches_deletes_and_quits(box, identity):
    def session():
        client = poplib.POP3(box.host, box.port, timeout=10)
        client.utf8()
        client.stls(ssl.create_default_context(cafile=str(identity.authority)))
        assert "STLS" not in client.capa()
        client.user(BOB)
        client.pass_("secret")
        count, octets = client.stat()
        listed = client.list()[1]
        assert sum(int(line.split()[1]) for line in listed) == octets
        letters = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
        assert b"\r\n".join(client.top(1, 1)[1]) + b"\r\n" == LETTERS[0].rpartition(b"this")[0]
        assert len({line.split()[1] for line in client.uidl()[1]}) == count
        for number in range(1, count + 1):
            client.dele(number)
        client.rset()
        client.dele(2)
        client.quit()
        return letters

    assert await asyncio.to_thread(session) == LETTERS
    assert await box.left() == len(LETTERS) - 1


@pytest.mark.client("poplib")
@pytest.mark.rfc(1939, "7")
async def test_poplib_logs_in_by_apop(box):
    def session():
        client = poplib.POP3(box.host, box.port, timeout=10)
        client.apop(BOB, "secret")
        return client.quit()

    assert (await asyncio.to_thread(session)).startswith(b"+OK")


@pytest.mark.client("fetchmail")
@pytest.mark.parametrize("protocol", ["POP3", "APOP"])
async def test_fetchmail_takes_everything_and_deletes_it(box, identity, program, tmp_path, protocol):
    out = tmp_path / "out"
    out.mkdir()
    rc = private(
        tmp_path / "fetchmailrc",
        f"""set no syslog
set invisible
poll localhost proto {protocol} port {box.port} timeout 20 no dns
  user "{BOB}" password "secret" is "{os.environ.get("USER", "root")}" here
  no rewrite fetchall no keep sslcertfile "{identity.authority}" sslcertck
  mda "/bin/sh -c 'cat > {out}/$$'"
""",
    )
    code, printed = await run(program("fetchmail"), "-f", rc, "-v", "--nodetach", FETCHMAILHOME=tmp_path)
    assert code == 0, printed
    assert bodies(path.read_bytes() for path in out.iterdir()) == bodies(LETTERS)
    assert await box.left() == 0


@pytest.mark.client("mpop")
@pytest.mark.parametrize("pipelining", ["on", "off"])
async def test_mpop_takes_everything_and_deletes_it(box, program, tmp_path, pipelining):
    maildir(tmp_path / "mail")
    rc = private(
        tmp_path / "mpoprc",
        f"""account default
host 127.0.0.1
port {box.port}
user {BOB}
password secret
auth user
tls off
pipelining {pipelining}
keep off
received_header off
delivery maildir {tmp_path / "mail"}
uidls_file {tmp_path / "uidls"}
""",
    )
    code, printed = await run(program("mpop"), "-C", rc, "-d", HOME=tmp_path)
    assert code == 0, printed
    assert bodies(stored(tmp_path / "mail")) == bodies(LETTERS)
    assert await box.left() == 0


@pytest.mark.client("mpop")
@pytest.mark.parametrize("mechanism", ["scram-sha-256", "cram-md5", "plain", "login", "apop"])
async def test_mpop_logs_in_by_every_mechanism(box, program, tmp_path, mechanism):
    rc = private(
        tmp_path / "mpoprc",
        f"""account default
host 127.0.0.1
port {box.port}
user {BOB}
password secret
auth {mechanism}
tls off
delivery maildir {tmp_path}
""",
    )
    code, printed = await run(program("mpop"), "-C", rc, "--auth-only", HOME=tmp_path)
    if b"not supported" in printed or b"not available" in printed:
        pytest.fail(f"this mpop lacks {mechanism}: {printed!r}")
    assert code == 0, printed


@pytest.mark.client("getmail")
async def test_getmail_takes_everything_and_deletes_it_as_an_ordinary_user(box, program, tmp_path):
    user = "nobody" if os.geteuid() == 0 else None
    home = tmp_path / "getmail"
    home.mkdir()
    maildir(tmp_path / "mail")
    private(
        home / "getmailrc",
        f"""[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
port = {box.port}
username = {BOB}
password = secret

[destination]
type = Maildir
path = {tmp_path / "mail"}/

[options]
read_all = true
delete = true
delivered_to = false
received = false
""",
    )
    if user:
        give(tmp_path, user)
    code, printed = await run(program("getmail"), "--getmaildir", home, user=user, HOME=home)
    assert code == 0, printed
    assert bodies(stored(tmp_path / "mail")) == bodies(LETTERS)
    assert await box.left() == 0


@pytest.mark.client("curl")
async def test_curl_lists_fetches_and_deletes(box, identity, program):
    curl, url = program("curl"), f"pop3://localhost:{box.port}"
    login = ("--silent", "--show-error", "--user", f"{BOB}:secret")
    code, listed = await run(curl, *login, f"{url}/")
    assert code == 0
    assert [int(line.split()[1]) for line in listed.splitlines()] == [len(letter) for letter in LETTERS]
    for number, letter in enumerate(LETTERS, 1):
        assert await run(curl, *login, f"{url}/{number}") == (0, letter)
    code, head = await run(curl, *login, "--ssl-reqd", "--cacert", identity.authority, "-X", "TOP 1 0", url + "/")
    assert (code, head) == (0, LETTERS[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    code, printed = await run(curl, *login, "-X", "DELE 1", "--head", url + "/")
    assert code == 0, printed
    assert await box.left() == len(LETTERS) - 1


@pytest.mark.client("curl")
async def test_curl_logs_in_by_bearer_token(box, program):
    code, printed = await run(
        program("curl"), "--silent", "--show-error", "--user", BOB, "--oauth2-bearer", "secret",
        f"pop3://localhost:{box.port}/1",
    )  # fmt: skip
    assert (code, printed) == (0, LETTERS[0])


@pytest.mark.client("node-pop3")
async def test_node_pop3_lists_fetches_and_deletes(box, program, npm_package):
    script = """
        const Pop3Command = require('node-pop3');
        (async () => {
            const [host, port, user] = process.argv.slice(1);
            const pop3 = new Pop3Command({ host, port: Number(port), user, password: 'secret', timeout: 20000 });
            const uids = await pop3.UIDL();
            const list = await pop3.LIST();
            const letters = [];
            for (const [number] of uids) letters.push(await pop3.RETR(number));
            const head = await pop3.TOP(1, 0);
            await pop3.DELE(1);
            await pop3.QUIT();
            console.log(JSON.stringify({ uids, list, letters, head }));
        })().catch((error) => { console.error(error); process.exit(1); });
    """
    code, printed = await run(
        program("node"), "-e", script, box.host, box.port, BOB, NODE_PATH=npm_package("node-pop3").parent
    )
    assert code == 0, printed
    told = json.loads(printed)
    assert [int(octets) for _, octets in told["list"]] == [len(letter) for letter in LETTERS]
    assert len({unique_id for _, unique_id in told["uids"]}) == len(LETTERS)
    # node-pop3 does not undo the stuffing: what it returns is what was on the wire.
    unstuffed = [letter.replace("\r\n.", "\r\n").strip() for letter in told["letters"]]
    assert unstuffed == [letter.decode().strip() for letter in LETTERS]
    assert await box.left() == len(LETTERS) - 1


@pytest.fixture
def npm_package():
    """The directory of an npm package that scripts/clients installs."""

    def find(name: str) -> Path:
        path = NPM / name
        if not path.is_dir():
            absent(f"npm package {name}")
        return path

    return find


def maildir(path: Path) -> None:
    for folder in ("cur", "new", "tmp"):
        (path / folder).mkdir(parents=True)


def stored(path: Path) -> list[bytes]:
    return [file.read_bytes() for folder in ("cur", "new") for file in (path / folder).iterdir()]


def give(path: Path, user: str) -> None:
    """Hand a directory to `user`, and let him reach it."""
    owner = pwd.getpwnam(user)
    for place in (path, *path.rglob("*")):
        os.chown(place, owner.pw_uid, owner.pw_gid)
    for parent in list(path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
