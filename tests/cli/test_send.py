"""`send` and `sendmail` against an SMTP server by script."""

import io
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from mailsandbox.cli import outgoing
from mailsandbox.cli.sendmail import EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, completed
from mailsandbox.cli.sendmail_arguments import Usage, parse
from mailsandbox.message.spans import scan
from mailsandbox.relay.connection import Timeouts

PNG = b"\x89PNG\r\n\x1a\n\x00\xff\n"
ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000", "CHUNKING", "BINARYMIME", "DSN")


@pytest.fixture
def stdin(monkeypatch):
    def give(octets: bytes) -> None:
        class Stdin:
            buffer = io.BytesIO(octets)

        monkeypatch.setattr(sys, "stdin", Stdin())

    return give


def test_a_composed_message_arrives_and_the_queue_id_is_printed(run, peer):
    server = peer(*ALL)
    ran = run("send", "--from", "A <a@alpha.test>", "--to", "b@beta.test", "--subject", "Été", "--text", "hello",
              "--server", server.place)  # fmt: skip
    assert ran.code == 0
    assert "b@beta.test: 250 2.0.0 Ok: queued as Q1" in ran.out
    assert "mailsandbox journey Q1" in ran.out
    assert "MAIL FROM:<a@alpha.test> SIZE=" in "\n".join(server.said)
    assert b"Subject: =?utf-8?" in server.octets
    assert server.octets.endswith(b"\r\nhello\r\n")


@pytest.mark.rfc(6152, "3")
def test_without_8bitmime_a_composed_message_is_made_7bit_and_nothing_is_declared(run, peer):
    server = peer("PIPELINING")
    ran = run("send", "--to", "b@beta.test", "--text", "déjà vu", "--server", server.place, "--json")
    assert ran.json["body"] == ""
    assert server.octets.isascii()
    assert scan(server.octets).encoding == "quoted-printable"


@pytest.mark.rfc(6152, "2")
def test_8bit_text_is_declared_where_the_server_takes_it(run, peer):
    server = peer(*ALL)
    ran = run("send", "--to", "b@beta.test", "--text", "déjà vu", "--server", server.place, "--json")
    assert ran.json["body"] == "8BITMIME"
    assert "déjà vu".encode() in server.octets
    assert any("BODY=8BITMIME" in line for line in server.said)


@pytest.mark.rfc(3030, "3")
def test_binarymime_sends_attachments_as_they_are_by_bdat(run, peer, tmp_path):
    server = peer(*ALL)
    (tmp_path / "a.png").write_bytes(PNG)
    ran = run("send", "--to", "b@beta.test", "--attach", tmp_path / "a.png", "--body", "binarymime",
              "--server", server.place)  # fmt: skip
    assert ran.code == 0
    assert PNG in server.octets
    assert any(line.startswith("BDAT ") for line in server.said)
    assert "DATA" not in server.said


@pytest.mark.rfc(5321, "4.1.1.11")
@pytest.mark.parametrize("body", ["8bitmime", "binarymime"])
def test_a_body_that_is_not_offered_is_not_declared_but_said(run, peer, body):
    server = peer("PIPELINING")
    ran = run("send", "--to", "b@beta.test", "--text", "é", "--body", body, "--server", server.place)
    assert ran.code == 1
    assert f"does not offer {body.upper()}" in ran.err
    assert server.octets == b""


def test_a_file_goes_as_it_is_and_a_lying_declaration_is_remarked_on(run, peer, tmp_path):
    server = peer(*ALL)
    octets = "Subject: é\r\n\r\n.dot\r\ncafé\r\n".encode()
    (tmp_path / "m.eml").write_bytes(octets)
    ran = run("send", "--to", "b@beta.test", "--eml", tmp_path / "m.eml", "--body", "7bit", "--server", server.place)
    assert ran.code == 0
    assert server.octets == octets
    assert any("BODY=7BIT" in line for line in server.said)
    assert "has 8-bit octets, and BODY=7BIT was declared" in ran.err


def test_standard_input_is_sent_and_its_line_ends_become_those_of_the_wire(run, peer, stdin):
    server = peer(*ALL)
    stdin(b"Subject: x\n\nhello\n")
    assert run("send", "-", "--to", "b@beta.test", "--server", server.place).code == 0
    assert server.octets == b"Subject: x\r\n\r\nhello\r\n"


def test_bcc_is_in_the_envelope_and_not_in_the_message(run, peer):
    server = peer(*ALL)
    run("send", "--to", "b@beta.test", "--bcc", "c@beta.test", "--text", "x", "--server", server.place)
    assert any("RCPT TO:<c@beta.test>" in line for line in server.said)
    assert b"c@beta.test" not in server.octets


@pytest.mark.rfc(3461, "4")
def test_dsn_parameters_go_to_a_server_that_knows_them(run, peer):
    server = peer(*ALL)
    run("send", "--to", "b@beta.test", "--text", "x", "--notify", "success,delay", "--ret", "HDRS", "--envid", "E1",
        "--server", server.place)  # fmt: skip
    assert any("RET=HDRS ENVID=E1" in line for line in server.said)
    assert any("NOTIFY=SUCCESS,DELAY" in line for line in server.said)


@pytest.mark.rfc(3461, "4.4")
@pytest.mark.parametrize(
    ("envid", "said"), [("a RET=HDRS", "a+20RET+3DHDRS"), ("a+b", "a+2Bb"), ("QQ+2B7", "QQ+2B2B7"), ("~!", "~!")]
)
@pytest.mark.parametrize("command", ["send", "sendmail"])
def test_an_envelope_id_goes_as_xtext_and_is_no_other_parameter(run, peer, stdin, command, envid, said):
    server = peer(*ALL)
    if command == "send":
        run("send", "--to", "b@beta.test", "--text", "x", "--envid", envid, "--server", server.place)
    else:
        stdin(b"Subject: x\n\nx\n")
        run("sendmail", "-V", envid, "--server", server.place, "b@beta.test")
    (mail,) = (line for line in server.said if line.startswith("MAIL "))
    assert [word for word in mail.split() if "=" in word and not word.startswith("SIZE=")] == [f"ENVID={said}"]


@pytest.mark.rfc(3461, "4.4")
@pytest.mark.parametrize("envid", ["é", "a\r\nRSET", "a\tb", "\x7f"])
def test_an_envelope_id_beyond_printable_ascii_is_wrong_use(run, peer, stdin, envid):
    server = peer(*ALL)
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--envid", envid, "--server", server.place)
    assert ran.code == 2
    assert "is not printable US-ASCII (RFC 3461 §4.4)" in ran.err
    stdin(b"Subject: x\n\nx\n")
    assert run("sendmail", "-V", envid, "--server", server.place, "b@beta.test").code == EX_USAGE
    assert server.said == []


@pytest.mark.rfc(3461, "4.1")
@pytest.mark.parametrize("notify", ["always", "NEVER,DELAY"])
def test_what_is_no_value_of_notify_is_named(run, peer, notify):
    server = peer(*ALL)
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--notify", notify, "--server", server.place)
    assert (ran.code, server.said) == (2, [])
    assert f"--notify: '{notify}': it is NEVER alone, or any of SUCCESS,FAILURE,DELAY" in " ".join(ran.err.split())


def test_ret_of_sendmail_is_one_of_its_two_words(run, peer, stdin):
    server = peer(*ALL)
    stdin(b"Subject: x\n\nx\n")
    ran = run("sendmail", "-R", "hdrs BODY=8BITMIME", "--server", server.place, "b@beta.test")
    assert (ran.code, server.said) == (EX_USAGE, [])
    assert "it is FULL or HDRS" in ran.err


@pytest.mark.rfc(5321, "4.1.1.11")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--notify", "SUCCESS"), "NOTIFY needs"),
        (("--ret", "hdrs"), "RET needs"),
        (("--envid", "q"), "ENVID needs"),
        (("--notify", "never", "--ret", "full", "--envid", "q"), "NOTIFY, RET, ENVID need"),
    ],
)
def test_what_a_server_without_dsn_would_never_hear_is_not_dropped_in_silence(run, peer, options, named):
    server = peer("PIPELINING", "8BITMIME")
    ran = run("send", "--to", "b@beta.test", "--text", "x", *options, "--server", server.place)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"mailsandbox: the server does not offer DSN, which {named} (RFC 3461 §4); nothing was sent\n"
    assert not any(line.startswith("MAIL") for line in server.said)


def test_sendmail_says_so_too(run, peer, stdin):
    server = peer("PIPELINING")
    stdin(b"Subject: x\n\nx\n")
    ran = run("sendmail", "-N", "success", "--server", server.place, "b@beta.test")
    assert ran.code == EX_UNAVAILABLE
    assert "does not offer DSN" in ran.err


@pytest.mark.rfc(6531, "3.2")
@pytest.mark.parametrize(
    "options",
    [("--to", "é@beta.test"), ("--to", "b@beta.test", "--from", "é@alpha.test")],
)
@pytest.mark.parametrize("offers", [(), ("8BITMIME",), ("DSN", "SIZE")])
def test_addresses_beyond_ascii_where_they_cannot_go_are_the_cause_that_is_named(run, peer, options, offers):
    server = peer(*offers)
    ran = run("send", *options, "--text", "x", "--server", server.place)
    assert (ran.code, ran.out) == (1, "")
    assert "the server does not offer SMTPUTF8, which addresses beyond ASCII need (RFC 6531 §3.2)" in ran.err
    assert "BODY" not in ran.err
    assert not any(line.startswith("MAIL") for line in server.said)


@pytest.mark.parametrize(
    ("verb", "reply"), [("mail", "550 5.7.1 no"), ("rcpt", "550 5.1.1 who"), ("end", "554 5.6.0 bad")]
)
def test_a_refusal_is_exit_code_one_with_the_reply(run, peer, verb, reply):
    server = peer(*ALL, **{verb: reply})
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--server", server.place)
    assert ran.code == 1
    assert reply in ran.out


def test_nobody_listening_is_exit_code_one_with_the_cause(run):
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--server", "127.0.0.1:9")
    assert ran.code == 1
    assert "127.0.0.1:9" in ran.out
    assert "Traceback" not in ran.err


@pytest.fixture
def says() -> Iterator[Callable[[bytes], str]]:
    """The place of a server that greets with these octets, and says nothing more."""
    listeners: list[socket.socket] = []
    connections: list[socket.socket] = []

    def start(greeting: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            connections.append(connection)
            connection.sendall(greeting)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in (*listeners, *connections):
        each.close()


@pytest.mark.rfc(3463, "3.8")
@pytest.mark.parametrize(
    ("greeting", "options", "told"),
    [
        (b"220 hop ESMTP\r\n", ("--tls", "implicit"), "451 4.7.4 {} does not speak TLS (wrong version number)"),
        (b"+OK POP3\r\n", (), "451 4.5.0 {}: it greeted with '+OK POP3', which is no SMTP reply"),
        (b"", (), "451 4.4.2 {} said nothing within 0.3 seconds"),
    ],
)
def test_what_is_no_smtp_server_is_told_as_what_it_is(run, says, monkeypatch, greeting, options, told):
    monkeypatch.setattr(outgoing, "_TIMEOUTS", Timeouts(connect=0.3))
    place = says(greeting)
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--server", place, *options)
    assert (ran.code, ran.out) == (1, f"b@beta.test: {told.format(place)}\n")


def test_a_login_where_none_is_offered_is_told_without_a_word_of_routes(run, peer):
    server = peer(*ALL)
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--login", "me", "--server", server.place)
    assert (ran.code, ran.out) == (1, "b@beta.test: 454 4.7.0 127.0.0.1 does not offer AUTH, which a login needs\n")


@pytest.mark.parametrize("address", ["", "two@a.test, three@b.test", "no address at all", "<>"])
def test_what_is_not_one_address_is_wrong_use(run, address):
    assert run("send", "--to", address, "--text", "x", "--server", "127.0.0.1:9").code == 2


def test_no_address_can_smuggle_a_command(run, peer):
    server = peer(*ALL)
    run("send", "--to", "b@beta.test>\r\nRSET\r\n<c@d", "--text", "x", "--server", server.place)
    assert "RSET" not in server.said


def test_verbose_shows_what_was_said(run, peer):
    server = peer(*ALL)
    ran = run("send", "--to", "b@beta.test", "--text", "x", "--server", server.place, "-v")
    assert " C EHLO " in ran.err
    assert " S 354 go on" in ran.err
    assert "octets of message data" in ran.err


# sendmail


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-t", "-i"], {"from_header": True, "dots_are_data": True}),
        (["-ti"], {"from_header": True, "dots_are_data": True}),
        (["-oi", "-t", "-fa@b.test", "-F", "Full Name"], {"sender": "a@b.test", "full_name": "Full Name"}),
        (["-r", "a@b.test", "c@d.test"], {"sender": "a@b.test", "recipients": ["c@d.test"]}),
        (["-bs"], {"mode": "s"}),
        (["-bp"], {"mode": "p"}),
        (["-q"], {"run_queue": True}),
        (["-q30m"], {"run_queue": True}),
        (
            ["-oem", "-odi", "-oQ/var/x", "-O", "DeliveryMode=b", "-B8BITMIME", "x"],
            {"body": "8BITMIME", "recipients": ["x"]},
        ),
        (["-N", "failure,delay", "-R", "hdrs", "-V", "id"], {"notify": "failure,delay", "ret": "hdrs", "envid": "id"}),
        (["--", "-t"], {"recipients": ["-t"], "from_header": False}),
        (["--server=127.0.0.1:25", "--url", "http://x"], {"server": "127.0.0.1:25", "url": "http://x"}),
    ],
)
def test_arguments_are_read_as_sendmail_reads_them(arguments, expected):
    asked = parse(arguments)
    assert {name: getattr(asked, name) for name in expected} == expected


@pytest.mark.parametrize("arguments", [["-f"], ["-b"], ["-z"], ["--nothing"], ["--server"]])
def test_what_sendmail_does_not_know_is_refused(arguments):
    with pytest.raises(Usage):
        parse(arguments)


def test_dash_t_takes_recipients_from_the_header_and_drops_bcc(run, peer, stdin):
    server = peer(*ALL)
    stdin(b"To: B <b@beta.test>, c@beta.test\nBcc: d@beta.test\nSubject: x\n\nbody\n")
    assert run("sendmail", "-t", "-i", "-f", "a@alpha.test", "--server", server.place).code == 0
    assert [line for line in server.said if line.startswith("RCPT")] == [
        "RCPT TO:<b@beta.test>", "RCPT TO:<c@beta.test>", "RCPT TO:<d@beta.test>",
    ]  # fmt: skip
    assert b"d@beta.test" not in server.octets
    assert b"\r\n\r\nbody\r\n" in server.octets


@pytest.mark.rfc(6409, "8")
def test_missing_fields_are_added_and_present_ones_kept(run, peer, stdin):
    server = peer(*ALL)
    stdin(b"Subject: x\nFrom: me@x.test\n\nbody\n")
    run("sendmail", "root", "--server", server.place)
    root = scan(server.octets)
    assert [each.key for each in root.fields] == ["subject", "from", "date", "message-id"]
    assert "RCPT TO:<root@alpha.test>" in server.said


def test_a_message_without_any_header_gets_one(run, peer, stdin):
    server = peer(*ALL)
    stdin(b"just text\n")
    run("sendmail", "-F", "Émile", "-f", "e@x.test", "b@beta.test", "--server", server.place)
    assert server.octets.startswith(b"From: =?utf-8?")
    assert server.octets.endswith(b"\r\n\r\njust text\r\n")


@pytest.mark.parametrize(
    ("flag", "kept"), [((), b"one\r\n"), (("-i",), b"one\r\n.\r\ntwo\r\n"), (("-oi",), b"one\r\n.\r\ntwo\r\n")]
)
def test_a_line_of_one_dot_ends_the_message_unless_dash_i(run, peer, stdin, flag, kept):
    server = peer(*ALL)
    stdin(b"Subject: x\n\none\n.\ntwo\n")
    run("sendmail", *flag, "--server", server.place, "b@beta.test")
    assert server.octets.partition(b"\r\n\r\n")[2] == kept


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({"rcpt": "451 4.7.1 later"}, EX_TEMPFAIL),
        ({"rcpt": "550 5.1.1 who"}, EX_UNAVAILABLE),
        ({"end": "452 4.3.1 full"}, EX_TEMPFAIL),
    ],
)
def test_exit_codes_are_those_of_sysexits(run, peer, stdin, replies, code):
    server = peer(*ALL, **replies)
    stdin(b"Subject: x\n\nx\n")
    ran = run("sendmail", "--server", server.place, "b@beta.test")
    assert ran.code == code
    assert "sendmail: b@beta.test: " in ran.err


def test_no_recipient_is_usage_and_no_server_is_later(run, stdin):
    stdin(b"Subject: x\n\nx\n")
    assert run("sendmail", "-t", "--server", "127.0.0.1:9").code == EX_USAGE
    stdin(b"Subject: x\n\nx\n")
    assert run("sendmail", "b@x.test", "--server", "127.0.0.1:9").code == EX_TEMPFAIL


def test_local_names_are_completed():
    assert completed("root") == "root@alpha.test"
    assert completed("<a@b.test>") == "a@b.test"
