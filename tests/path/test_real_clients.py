"""Programs and libraries nobody here wrote, against the running daemon: they send, and they read what arrived."""

import asyncio
import imaplib
import json
import os
import poplib
import smtplib
import ssl
import subprocess

import aioimaplib
import aiosmtplib
import httpx
import httpx_sse
import pytest
import websockets

from tests.path.conftest import DEADLINE, SUBJECT, french_message

BOB = "bob@beta.test"


def run(*command, check=True, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=DEADLINE, check=False, **options
    )
    if check and done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}:\n{done.stdout.decode()}\n{done.stderr.decode()}")
    return done


def at(daemon, service):
    host, port = daemon.services[service]
    return f"{host}:{port}"


def wait(daemon, count=1, to=BOB):
    url = f"http://{at(daemon, 'http')}/v1/wait"
    answer = httpx.get(url, params={"to": to, "count": count, "timeout": 15}, timeout=DEADLINE)
    assert answer.status_code == 200, answer.text
    return answer.json()["messages"]


@pytest.fixture
def mail(daemon):
    """The French message in bob's mailbox."""
    with smtplib.SMTP(*daemon.services["alpha.smtp"]) as smtp:
        smtp.sendmail("alice@alpha.test", [BOB], french_message(BOB), mail_options=["BODY=8BITMIME"])
    (message,) = wait(daemon)
    raw = httpx.get(f"http://{at(daemon, 'http')}/v1/messages/{message['id']}/raw").content
    return daemon, raw


# Senders.


def test_smtplib_sends_through_every_door(daemon):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP(*daemon.services["alpha.smtp"]) as smtp:
        smtp.sendmail("a@alpha.test", [BOB], b"Subject: plain\r\n\r\n")
    with smtplib.SMTP(*daemon.services["alpha.submission"]) as smtp:
        smtp.starttls(context=context)
        smtp.login("a@alpha.test", "any")
        smtp.sendmail("a@alpha.test", [BOB], b"Subject: submission\r\n\r\n")
    with smtplib.SMTP_SSL(*daemon.services["alpha.submissions"], context=context) as smtp:
        smtp.login("a@alpha.test", "any")
        smtp.sendmail("a@alpha.test", [BOB], b"Subject: submissions\r\n\r\n")
    assert {message["subject"] for message in wait(daemon, 3)} == {"plain", "submission", "submissions"}


async def test_aiosmtplib_sends(daemon):
    host, port = daemon.services["alpha.smtp"]
    await aiosmtplib.send(french_message(BOB), sender="a@alpha.test", recipients=[BOB], hostname=host, port=port)
    (message,) = await asyncio.to_thread(wait, daemon)
    assert message["subject"] == SUBJECT


@pytest.mark.client("swaks")
def test_swaks_sends_with_pipelining_and_attachment(daemon, program, tmp_path):
    picture = tmp_path / "plage.png"
    picture.write_bytes(bytes(range(256)) * 4)
    run(
        program("swaks"), "--server", at(daemon, "alpha.smtp"), "--from", "a@alpha.test", "--to", BOB,
        "--header", "Subject: by swaks", "--attach", f"@{picture}", "--pipeline",
    )  # fmt: skip
    (message,) = wait(daemon)
    assert (message["subject"], message["attachments"]) == ("by swaks", 1)


@pytest.mark.client("curl")
def test_curl_sends(daemon, program, tmp_path):
    letter = tmp_path / "letter.eml"
    letter.write_bytes(french_message(BOB))
    run(
        program("curl"), "--silent", "--show-error", f"smtp://{at(daemon, 'alpha.smtp')}",
        "--mail-from", "a@alpha.test", "--mail-rcpt", BOB, "--upload-file", letter,
    )  # fmt: skip
    assert wait(daemon)[0]["subject"] == SUBJECT


# Readers.


def test_poplib_reads_and_deletes(mail):
    daemon, raw = mail
    pop3 = poplib.POP3(*daemon.services["pop3"])
    pop3.user(BOB)
    pop3.pass_("x")
    assert pop3.stat() == (1, len(raw))
    assert b"\r\n".join(pop3.retr(1)[1]) + b"\r\n" == raw
    pop3.dele(1)
    pop3.quit()
    again = poplib.POP3(*daemon.services["pop3"])
    again.user(BOB)
    again.pass_("x")
    assert again.stat() == (0, 0)
    again.quit()


def test_imaplib_reads_searches_and_flags(mail):
    daemon, raw = mail
    with imaplib.IMAP4(*daemon.services["imap"]) as imap:
        imap.login(BOB, "x")
        assert imap.select("INBOX") == ("OK", [b"1"])
        assert imap.search("UTF-8", "UNSEEN")[1] == [b"1"]
        imap.literal = b"plage"
        assert imap.search("UTF-8", "SUBJECT")[1] == [b"1"]
        assert imap.fetch("1", "(BODY[])")[1][0][1] == raw
        assert b"\\Seen" in imap.fetch("1", "(FLAGS)")[1][0]
        imap.store("1", "+FLAGS", r"(\Deleted)")
        assert imap.expunge() == ("OK", [b"1"])


async def test_aioimaplib_is_pushed_new_mail_flags_and_expunges_in_idle(mail):
    daemon, _ = mail
    idler = aioimaplib.IMAP4(*daemon.services["imap"])
    await idler.wait_hello_from_server()
    await idler.login(BOB, "x")
    await idler.select("INBOX")
    idling = await idler.idle_start(timeout=60)

    async def pushed(what):
        while True:
            lines = await asyncio.wait_for(idler.wait_server_push(), DEADLINE)
            if any(what in line for line in lines):
                return

    def act():
        with smtplib.SMTP(*daemon.services["alpha.smtp"]) as smtp:
            smtp.sendmail("a@alpha.test", [BOB], b"Subject: second\r\n\r\n")
        wait(daemon, 2)
        with imaplib.IMAP4(*daemon.services["imap"]) as imap:
            imap.login(BOB, "x")
            imap.select("INBOX")
            imap.store("1", "+FLAGS", r"(\Flagged)")
            imap.store("2", "+FLAGS", r"(\Deleted)")
            imap.expunge()

    acting = asyncio.create_task(asyncio.to_thread(act))
    await pushed(b"2 EXISTS")
    await pushed(b"\\Flagged")
    await pushed(b"2 EXPUNGE")
    await acting
    idler.idle_done()
    await asyncio.wait_for(idling, DEADLINE)
    await idler.logout()


@pytest.mark.client("curl")
def test_curl_reads_by_imap_and_pop3(mail, program):
    daemon, raw = mail
    curl = [program("curl"), "--silent", "--show-error", "--user", f"{BOB}:x"]
    assert run(*curl, f"imap://{at(daemon, 'imap')}/INBOX;UID=1").stdout == raw
    assert run(*curl, f"pop3://{at(daemon, 'pop3')}/1").stdout == raw
    assert run(*curl, "--insecure", f"imaps://{at(daemon, 'imaps')}/INBOX;UID=1").stdout == raw
    assert run(*curl, "--insecure", f"pop3s://{at(daemon, 'pop3s')}/1").stdout == raw
    assert run(*curl, "--insecure", "--ssl-reqd", f"imap://{at(daemon, 'imap')}/INBOX;UID=1").stdout == raw
    listing = run(*curl, f"imap://{at(daemon, 'imap')}/", "--request", "EXAMINE INBOX").stdout
    assert b"* 1 EXISTS" in listing


def without_trace(octets):
    """A message from its From field on: what a reading program adds before it is its own."""
    return octets.replace(b"\r\n", b"\n")[octets.replace(b"\r\n", b"\n").index(b"From: ") :]


@pytest.mark.client("fetchmail")
@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_fetchmail_fetches_everything(mail, program, tmp_path, protocol):
    daemon, raw = mail
    host, port = daemon.services[protocol]
    inbox = tmp_path / "inbox"
    control = tmp_path / "fetchmailrc"
    control.write_text(
        f"poll {host} service {port} protocol {protocol} auth password\n"
        f'user "{BOB}" password "x" nokeep sslproto "" mda "cat >> {inbox}"\n'
    )
    control.chmod(0o600)
    environment = {**os.environ, "HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path)}
    program_path = program("fetchmail")
    run(program_path, "--fetchmailrc", control, "--nodetach", "--nosyslog", env=environment)
    assert without_trace(inbox.read_bytes()).rstrip() == without_trace(raw).rstrip()
    assert run(program_path, "--fetchmailrc", control, "--nodetach", env=environment, check=False).returncode == 1


@pytest.mark.client("mpop")
def test_mpop_fetches_with_pipelining(mail, program, tmp_path):
    daemon, raw = mail
    host, port = daemon.services["pop3"]
    inbox = tmp_path / "inbox"
    run(
        program("mpop"), f"--host={host}", f"--port={port}", f"--user={BOB}", "--passwordeval=echo x", "--tls=off",
        "--auth=user", "--keep=on", "--pipelining=on", "--received-header=off", f"--delivery=mbox,{inbox}",
        f"--uidls-file={tmp_path / 'uidls'}",
    )  # fmt: skip
    assert without_trace(inbox.read_bytes()).rstrip() == without_trace(raw).rstrip()


@pytest.mark.client("neomutt")
def test_neomutt_reads_and_saves_a_message(mail, program, tmp_path):
    daemon, _ = mail
    host, port = daemon.services["imap"]
    rc = tmp_path / "muttrc"
    copy = tmp_path / "copy.mbox"
    rc.write_text(
        f'set imap_user="{BOB}" imap_pass="x" ssl_starttls=no ssl_force_tls=no header_cache=""\n'
        "set confirmappend=no confirmcreate=no\n"
        f'set folder="imap://{host}:{port}/" spoolfile="+INBOX" mbox_type=mbox quit=yes delete=yes move=no\n'
        f"set timeout=1 wait_key=no\n"
        f'push "<copy-message>{copy}<enter><quit>"\n'
    )
    environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "LANG": "C.UTF-8"}
    run("script", "-qec", f"{program('neomutt')} -n -F {rc}", "/dev/null", env=environment, stdin=subprocess.DEVNULL)
    assert b"plage@alpha.test" in copy.read_bytes()


def test_httpx_sse_is_pushed_changes_and_resumes(mail):
    daemon, _ = mail
    url = f"http://{at(daemon, 'http')}/v1/accounts/{BOB}/changes/sse"
    with httpx.Client(timeout=DEADLINE) as client:
        with httpx_sse.connect_sse(client, "GET", url, params={"since": 0}) as source:
            first = next(event for event in source.iter_sse() if event.event == "MessageNew")
        with smtplib.SMTP(*daemon.services["alpha.smtp"]) as smtp:
            smtp.sendmail("a@alpha.test", [BOB], b"Subject: second\r\n\r\n")
        with httpx_sse.connect_sse(client, "GET", url, headers={"Last-Event-ID": first.id}) as source:
            second = next(event for event in source.iter_sse() if event.event == "MessageNew")
    assert json.loads(second.data)["uid"] == json.loads(first.data)["uid"] + 1
    assert int(second.id) > int(first.id)


async def test_websockets_is_pushed_changes(mail):
    daemon, _ = mail
    url = f"ws://{at(daemon, 'http')}/v1/accounts/{BOB}/changes/ws?since=0"
    async with websockets.connect(url, subprotocols=["mailsandbox.v1+json"]) as socket:
        async with asyncio.timeout(DEADLINE):
            while json.loads(await socket.recv()).get("type") != "MessageNew":
                pass
        assert socket.subprotocol == "mailsandbox.v1+json"


@pytest.mark.client("curl")
def test_curl_polls_with_etag_and_waits(mail, program):
    daemon, _ = mail
    url = f"http://{at(daemon, 'http')}/v1/accounts/{BOB}/changes"
    curl = [program("curl"), "--silent", "--show-error", "--include"]
    first = run(*curl, f"{url}?since=0").stdout.decode()
    etag = next(line.split(": ", 1)[1] for line in first.splitlines() if line.lower().startswith("etag"))
    cursor = json.loads(first.split("\r\n\r\n", 1)[1])["cursor"]
    again = run(*curl, "--header", f"If-None-Match: {etag}", f"{url}?since=0").stdout.decode()
    assert again.startswith("HTTP/1.1 304")
    waited = run(*curl, "--header", "Prefer: wait=1", f"{url}?since={cursor}").stdout.decode()
    assert waited.startswith("HTTP/1.1 204")
    assert "preference-applied: wait=1" in waited.lower()
