"""Clients that nobody here wrote: smtplib, aiosmtplib, swaks, curl, msmtp, nullmailer, nodemailer, smtp-source."""

import asyncio
import email.message
import email.policy
import fnmatch
import json
import os
import smtplib
from pathlib import Path

import aiosmtplib
import pytest

from mailsandbox.smtp.extensions import Offers
from mailsandbox.store.credentials import AccountSpec, Credentials
from mailsandbox.submit.model import Authentication, Kind

DEADLINE = 30.0
TEXT = b"From: alice@alpha.test\r\nTo: bob@beta.test\r\nSubject: hello\r\n\r\n.one dot\r\n..two dots\r\n.\r\nend\r\n"
OCTETS = b"\0\n\r\xff\r\n.\r\n" + bytes(range(256))
SECRETS = Credentials(specs={"bob@alpha.test": AccountSpec(password="secret")})


async def run(*command: str, stdin: bytes = b"", env: dict | None = None) -> str:
    """Run a program to its end; what it printed. A failure shows it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    printed, _ = await asyncio.wait_for(process.communicate(stdin), DEADLINE)
    assert process.returncode == 0, f"{command[0]} exited {process.returncode}:\n{printed.decode(errors='replace')}"
    return printed.decode(errors="replace")


# -- Python ----------------------------------------------------------------------------------------------------------


async def test_smtplib_sends_with_tls_and_login(serve, client_tls):
    service = await serve(kind=Kind.SUBMISSION, authentication=Authentication.REQUIRED)

    def send() -> None:
        with smtplib.SMTP("localhost", service.port) as client:
            client.starttls(context=client_tls)
            client.login("bob@alpha.test", "secret")
            client.sendmail("bob@alpha.test", ["carol@beta.test", "dave@beta.test"], TEXT, ["BODY=8BITMIME"])

    await asyncio.to_thread(send)
    assert service.accepted[0].octets == TEXT
    assert service.accepted[0].accepted.protocol == "ESMTPSA"


async def test_smtplib_sends_utf8_addresses(serve):
    service = await serve()
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "élise@été.test", "bø@beta.test", "Été"
    message.set_content("à la plage")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", service.port) as client:
            client.send_message(message)

    await asyncio.to_thread(send)
    assert service.accepted[0].envelope.smtputf8
    assert service.accepted[0].envelope.reverse_path == "élise@été.test"
    assert service.accepted[0].accepted.protocol == "UTF8SMTP"


async def test_smtplib_speaks_lmtp_over_a_unix_socket(serve, tmp_path):
    service = await serve(kind=Kind.LMTP, socket=str(tmp_path / "lmtp"))

    def send() -> dict:
        with smtplib.LMTP(service.spec.socket) as client:
            return client.sendmail("alice@alpha.test", ["bob@beta.test"], TEXT)

    assert await asyncio.to_thread(send) == {}
    assert service.accepted[0].octets == TEXT


@pytest.mark.parametrize("mechanism", ["crammd5", "plain", "login"])
async def test_aiosmtplib_authenticates(serve, mechanism):
    service = await serve(context={"credentials": SECRETS})
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=service.port, start_tls=False)
    await client.connect()
    await client.ehlo()
    await getattr(client, f"auth_{mechanism}")("bob@alpha.test", "secret")
    await client.sendmail("bob@alpha.test", ["carol@beta.test"], TEXT)
    with pytest.raises(aiosmtplib.SMTPAuthenticationError):
        await getattr(client, f"auth_{mechanism}")("bob@alpha.test", "secret")
    await client.quit()
    assert service.accepted[0].accepted.protocol == "ESMTPA"


@pytest.mark.parametrize("mechanism", ["crammd5", "plain", "login"])
async def test_a_wrong_password_is_refused(serve, mechanism):
    service = await serve(context={"credentials": SECRETS})
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=service.port, start_tls=False)
    await client.connect()
    await client.ehlo()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
        await getattr(client, f"auth_{mechanism}")("bob@alpha.test", "wrong")
    assert refused.value.code == 535
    await client.quit()


async def test_aiosmtplib_sends_over_implicit_tls(serve, client_tls):
    service = await serve(kind=Kind.SUBMISSIONS)
    async with aiosmtplib.SMTP(hostname="localhost", port=service.port, use_tls=True, tls_context=client_tls) as client:
        await client.sendmail("alice@alpha.test", ["bob@beta.test"], TEXT)
    assert service.accepted[0].accepted.protocol == "ESMTPS"


# -- swaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.client("swaks")
@pytest.mark.parametrize(
    ("settings", "options", "protocol"),
    [
        ({}, ["--pipeline"], "ESMTP"),
        ({}, ["--protocol", "SMTP"], "SMTP"),
        ({}, ["--tls"], "ESMTPS"),
        ({"kind": Kind.SUBMISSIONS}, ["--tls-on-connect"], "ESMTPS"),
        ({}, ["--auth", "PLAIN", "-au", "bob@alpha.test", "-ap", "secret"], "ESMTPA"),
        ({}, ["--auth", "LOGIN", "-au", "bob@alpha.test", "-ap", "secret", "--tls"], "ESMTPSA"),
        (
            {"context": {"credentials": SECRETS}},
            ["--auth", "CRAM-MD5", "-au", "bob@alpha.test", "-ap", "secret"],
            "ESMTPA",
        ),
        ({"kind": Kind.LMTP}, ["--protocol", "LMTP"], "LMTP"),
        ({"xclient_peers": ("127.0.0.1",)}, ["--xclient-addr", "192.0.2.1", "--xclient-name", "spike.test"], "ESMTP"),
        ({"proxy_peers": ("127.0.0.1",)}, ["--proxy", "TCP4 192.0.2.1 192.0.2.2 4711 25"], "ESMTP"),
    ],
)
async def test_swaks_sends(serve, program, settings, options, protocol):
    service = await serve(**settings)
    server = ["--server", "127.0.0.1", "--port", str(service.port)]
    addresses = ["--from", "bob@alpha.test", "--to", "carol@beta.test,dave@beta.test"]
    printed = await run(program("swaks"), *server, *addresses, "--header", "Subject: swaks", *options)
    accepted = service.accepted[0].accepted
    assert accepted.protocol == protocol, printed
    assert accepted.envelope.recipients == ["carol@beta.test", "dave@beta.test"]
    if "--xclient-addr" in options or "--proxy" in options:
        assert b"[192.0.2.1]" in service.accepted[0].trace


@pytest.mark.client("swaks")
async def test_swaks_is_told_why_a_message_is_refused(serve, program):
    service = await serve(mode="strict", offers=Offers.parse(["PIPELINING"]))
    process = await asyncio.create_subprocess_exec(
        program("swaks"),
        *("--server", "127.0.0.1", "--port", str(service.port), "--from", "a@alpha.test", "--to", "b@beta.test"),
        *("--body", "d\u00e9j\u00e0 vu"),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 26  # the server refused the data
    assert b"554 5.6.1 8-bit content without BODY=8BITMIME" in printed


# -- curl ------------------------------------------------------------------------------------------------------------


@pytest.mark.client("curl")
@pytest.mark.parametrize(
    ("settings", "options", "protocol"),
    [
        ({}, [], "ESMTP"),
        ({}, ["--ssl-reqd"], "ESMTPS"),
        ({}, ["--user", "bob@alpha.test:secret", "--login-options", "AUTH=PLAIN"], "ESMTPA"),
        ({}, ["--user", "bob@alpha.test:secret", "--login-options", "AUTH=PLAIN", "--sasl-ir"], "ESMTPA"),
        ({}, ["--user", "bob@alpha.test:secret", "--login-options", "AUTH=LOGIN"], "ESMTPA"),
        (
            {"context": {"credentials": SECRETS}},
            ["--user", "bob@alpha.test:secret", "--login-options", "AUTH=CRAM-MD5"],
            "ESMTPA",
        ),
        ({}, ["--user", "bob@alpha.test", "--oauth2-bearer", "token", "--login-options", "AUTH=XOAUTH2"], "ESMTPA"),
        ({}, ["--user", "bob@alpha.test", "--oauth2-bearer", "token", "--login-options", "AUTH=OAUTHBEARER"], "ESMTPA"),
    ],
)
async def test_curl_sends(serve, program, certificate, settings, options, protocol):
    service = await serve(**settings)
    await run(
        program("curl"),
        *("--silent", "--show-error", "--cacert", certificate[0], f"smtp://localhost:{service.port}/client.test"),
        *("--mail-from", "alice@alpha.test", "--mail-rcpt", "bob@beta.test", "--upload-file", "-", *options),
        stdin=TEXT,
    )
    assert service.accepted[0].octets == TEXT
    assert service.accepted[0].accepted.protocol == protocol


@pytest.mark.client("curl")
async def test_curl_sends_over_implicit_tls(serve, program, certificate):
    service = await serve(kind=Kind.SUBMISSIONS)
    await run(
        program("curl"),
        *("--silent", "--show-error", "--cacert", certificate[0], f"smtps://localhost:{service.port}/client.test"),
        *("--mail-from", "alice@alpha.test", "--mail-rcpt", "bob@beta.test", "--upload-file", "-"),
        stdin=TEXT,
    )
    assert service.accepted[0].accepted.protocol == "ESMTPS"


@pytest.mark.client("curl")
@pytest.mark.parametrize(
    ("command", "name", "printed"),
    [
        ("VRFY", "bob@beta.test", ["252 2.0.0 Cannot VRFY, but will take mail for it and try to deliver it *"]),
        ("EXPN", "team@alpha.test", ["250-2.1.5 <ann@beta.test>", "250 2.1.5 <ben@beta.test>"]),
        ("EXPN", "team", ["250-2.1.5 <ann@beta.test>", "250 2.1.5 <ben@beta.test>"]),
        ("EXPN", "plage", ["250 2.1.5 <zoë@beta.test>"]),
        ("EXPN", "bob@beta.test", ["252 2.0.0 Cannot EXPN, but will take mail for it and try to deliver it *"]),
    ],
)
async def test_curl_verifies_and_expands(serve, program, command, name, printed):
    lists = {"team@alpha.test": ["ann@beta.test", "ben@beta.test"], "plage@alpha.test": ["zoë@beta.test"]}
    service = await serve(context={"expand": lists.get})
    where = f"smtp://127.0.0.1:{service.port}/client.test"
    said = await run(program("curl"), "--silent", "--show-error", where, "--request", command, "--mail-rcpt", name)
    assert len(said.splitlines()) == len(printed)
    assert all(fnmatch.fnmatchcase(line, pattern) for line, pattern in zip(said.splitlines(), printed, strict=True))
    asked = [line.text for line in service.session().transcript if line.side == "C"]
    parameter = " SMTPUTF8" if command == "EXPN" else ""  # RFC 6531 §3.7.4.2: curl sends it where it is offered
    assert asked == ["EHLO client.test", f"{command} {name}{parameter}", "QUIT"]


# -- others ----------------------------------------------------------------------------------------------------------


@pytest.mark.client("msmtp")
@pytest.mark.parametrize(
    ("kind", "options", "protocol"),
    [
        (Kind.SMTP, ["--tls=off", "--auth=off"], "ESMTP"),
        (Kind.SUBMISSION, ["--tls=on", "--tls-starttls=on", "--auth=plain"], "ESMTPSA"),
        (Kind.SUBMISSIONS, ["--tls=on", "--tls-starttls=off", "--auth=login"], "ESMTPSA"),
        (Kind.SUBMISSION, ["--tls=on", "--tls-starttls=on", "--auth=scram-sha-256"], "ESMTPSA"),
    ],
)
async def test_msmtp_sends(serve, program, certificate, kind, options, protocol):
    service = await serve(kind=kind, context={"credentials": SECRETS})
    login = [] if "--auth=off" in options else ["--user=bob@alpha.test", "--passwordeval=echo secret"]
    trust = [] if "--tls=off" in options else [f"--tls-trust-file={certificate[0]}"]
    await run(
        program("msmtp"),
        *("--file=/dev/null", "--host=localhost", f"--port={service.port}", "--from=bob@alpha.test"),
        *(*options, *login, *trust, "carol@beta.test"),
        stdin=TEXT.replace(b"\r\n", b"\n"),
    )
    assert service.accepted[0].octets.endswith(TEXT.partition(b"\r\n\r\n")[2])
    assert service.accepted[0].accepted.protocol == protocol


def nullmailer(program) -> str:
    """nullmailer and Postfix exclude each other as packages: scripts/clients unpacks it beside the environment."""
    unpacked = Path(__file__).parents[2] / ".venv/nullmailer/usr/lib/nullmailer/smtp"
    return str(unpacked) if unpacked.exists() else program("/usr/lib/nullmailer/smtp")


@pytest.mark.client("nullmailer")
async def test_nullmailer_sends(serve, program, tmp_path):
    service = await serve()
    queued = tmp_path / "message"
    queued.write_bytes(b"alice@alpha.test\nbob@beta.test\ncarol@beta.test\n\n" + TEXT.replace(b"\r\n", b"\n"))
    client = [nullmailer(program), "--host=127.0.0.1", f"--port={service.port}"]
    await run(
        "sh",
        "-c",
        'file="$1"; shift; exec "$@" 3< "$file"',
        "sh",
        str(queued),
        *client,
        env={"HELOHOST": "client.test"},
    )
    assert service.accepted[0].octets == TEXT
    assert service.accepted[0].envelope.addresses == ["bob@beta.test", "carol@beta.test"]


@pytest.mark.client("nodemailer")
@pytest.mark.parametrize("secure", ["no", "starttls", "implicit"])
async def test_nodemailer_sends(serve, program, certificate, secure):
    node = program("node")
    modules = Path(__file__).parents[2] / ".venv/npm/node_modules"
    if not (modules / "nodemailer").exists():
        program("nodemailer")
    service = await serve(kind=Kind.SUBMISSIONS if secure == "implicit" else Kind.SUBMISSION)
    options = {
        "host": "localhost",
        "port": service.port,
        "secure": secure == "implicit",
        "ignoreTLS": secure == "no",
        "requireTLS": secure == "starttls",
        "auth": {"user": "bob@alpha.test", "pass": "secret"},
    }
    script = f"""
        const transport = require('nodemailer').createTransport({json.dumps(options)});
        transport.sendMail({{from: 'bob@alpha.test', to: 'carol@beta.test',
            subject: 'Été', text: 'déjà vu\\n.\\nÉté\\n',
            attachments: [{{filename: 'a.bin', content: Buffer.from({list(OCTETS)})}}],
            dsn: {{id: 'x+y', return: 'headers', notify: ['failure', 'delay'], recipient: 'carol@beta.test'}}}})
            .then(() => process.exit(0), error => {{ console.error(error); process.exit(1) }});
    """
    await run(node, "-e", script, env={"NODE_PATH": str(modules), "NODE_EXTRA_CA_CERTS": certificate[0]})
    incoming = service.accepted[0]
    assert incoming.envelope.ret == "HDRS"
    assert incoming.envelope.envid == "x+2By"
    assert incoming.envelope.recipients[0].notify == {"FAILURE", "DELAY"}
    assert incoming.accepted.protocol == ("ESMTPA" if secure == "no" else "ESMTPSA")
    message = email.message_from_bytes(incoming.octets, policy=email.policy.default)
    assert message["Subject"] == "Été"
    assert message.get_body().get_content() == "déjà vu\r\n.\r\nÉté\r\n"
    assert b"\r\n.\r\n" in incoming.octets  # RFC 5321 §4.5.2: it travelled as ".."
    [attachment] = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("a.bin", OCTETS)


@pytest.mark.client("smtp-source")
@pytest.mark.parametrize("kind", [Kind.SMTP, Kind.LMTP])
async def test_smtp_source_sends_many_at_once(serve, program, kind):
    service = await serve(kind=kind)
    lmtp = ["-L"] if kind is Kind.LMTP else []
    where = f"127.0.0.1:{service.port}"
    sessions = ["-s", "5", "-m", "50", "-l", "5000", "-r", "3", "-d"]
    await run(program("smtp-source"), *lmtp, *sessions, "-f", "a@alpha.test", "-t", "b@beta.test", where)
    assert len(service.accepted) == 50
    assert all(len(incoming.octets) >= 5000 for incoming in service.accepted)
