"""Listeners as the configuration describes them: what is off is refused, on each of them as it is set."""

import smtplib
import socket
import ssl

import pytest

from mailsandbox import Sandbox
from mailsandbox.config import parse
from mailsandbox.errors import ConfigError
from mailsandbox.site import listener_specs

CONFIG = """
[sites.alpha]
offers = ["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN", "STARTTLS",
    "DELIVERBY", "ETRN"]
trusted_peers = ["127.0.0.1"]

[sites.alpha.listeners.bare]
port = 0
offers = []
auth = "off"
vrfy = false
expn = false
enhanced_codes = false
trusted_peers = []

[sites.alpha.listeners.careful]
kind = "submission"
port = 0
auth = "required"
auth_needs_tls = true
mechanisms = ["PLAIN"]

[sites.alpha.listeners.guarded]
port = 0
tls_required = true
max_messages = 1
max_errors = 3

[sites.alpha.listeners.local]
socket = "SOCKET"
"""


@pytest.fixture
def box(tmp_path):
    with Sandbox(parse(CONFIG.replace("SOCKET", str(tmp_path / "smtp.sock")))) as box:
        yield box


@pytest.fixture
def say(box):
    """Says lines to a listener, each after the reply to the last one; the replies."""

    def say(service: str, *lines: str) -> list[str]:
        place = box.services[service]
        wire = socket.create_connection(tuple(place), timeout=10)
        with wire, wire.makefile("rwb") as file:
            replies = []
            for line in ("", *lines):
                if line:
                    file.write(line.encode() + b"\r\n")
                    file.flush()
                while (answer := file.readline())[3:4] == b"-":
                    pass
                replies.append(answer.decode().rstrip())
            return replies[1:]

    return say


MAIL = "MAIL FROM:<a@alpha.test>"


@pytest.mark.rfc(5321, "4.1.1.11")
@pytest.mark.parametrize(
    ("lines", "on", "off"),
    [
        ([f"{MAIL} SIZE=10"], "250", "555"),
        ([f"{MAIL} BODY=8BITMIME"], "250", "555"),
        ([f"{MAIL} BODY=BINARYMIME"], "250", "555"),
        ([f"{MAIL} SMTPUTF8"], "250", "555"),
        ([f"{MAIL} RET=HDRS"], "250", "555"),
        ([f"{MAIL} ENVID=1"], "250", "555"),
        ([f"{MAIL} BY=60;R"], "250", "555"),
        ([f"{MAIL} AUTH=<>"], "250", "555"),
        ([f"{MAIL} REQUIRETLS"], "555", "555"),  # in clear text it is offered to nobody, RFC 8689 §2
        ([MAIL, "RCPT TO:<b@beta.test> NOTIFY=NEVER"], "250", "555"),
        ([MAIL, "RCPT TO:<b@beta.test> ORCPT=rfc822;b@beta.test"], "250", "555"),
        ([MAIL, "RCPT TO:<b@beta.test>", "BDAT 0 LAST"], "250", "502"),
        (["STARTTLS"], "220", "502"),
        (["AUTH PLAIN AGEAYg=="], "235", "502"),
        (["ETRN beta.test"], "251", "502"),
        (["VRFY a@alpha.test"], "252", "502"),
        (["EXPN a"], "252", "502"),
        (["XCLIENT ADDR=192.0.2.1"], "220", "550"),
    ],
)
def test_what_a_listener_does_not_offer_is_refused_and_what_it_offers_is_not(say, lines, on, off):
    assert say("alpha.smtp", "EHLO client.test", *lines)[-1][:3] == on
    assert say("alpha.bare", "EHLO client.test", *lines)[-1][:3] == off


def test_without_extensions_the_reply_to_ehlo_is_one_line_and_codes_are_plain(say, box):
    with smtplib.SMTP(*box.services["alpha.bare"]) as smtp:
        assert smtp.ehlo() == (250, b"alpha.test greets " + smtp.local_hostname.encode())
        assert smtp.mail("a@alpha.test") == (250, b"Sender ok")


@pytest.mark.rfc(2920, "3.1")
def test_a_command_before_the_reply_is_refused_where_pipelining_is_off(box):
    with socket.create_connection(tuple(box.services["alpha.bare"]), timeout=10) as wire:
        wire.recv(500)
        wire.sendall(b"EHLO client.test\r\nMAIL FROM:<a@alpha.test>\r\n")
        heard = b""
        while piece := wire.recv(500):
            heard += piece
    assert heard.startswith(b"503 ")


@pytest.mark.rfc(4954, "4")
def test_a_listener_takes_the_mechanisms_it_is_given_and_those_over_tls(box):
    with smtplib.SMTP(*box.services["alpha.careful"]) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
        context = ssl.create_default_context(cafile=str(box.ca_file))
        context.check_hostname = False
        smtp.starttls(context=context)
        smtp.ehlo()
        assert smtp.esmtp_features["auth"].split() == ["PLAIN"]
        assert smtp.docmd("AUTH", "LOGIN")[0] == 504
        assert smtp.mail("a@alpha.test")[0] == 530
        assert smtp.login("a@alpha.test", "x")[0] == 235
        assert smtp.mail("b@alpha.test")[1].startswith(b"5.7.1 ")


def test_tls_messages_and_errors_are_limited_as_set(say):
    assert say("alpha.guarded", "EHLO client.test", MAIL)[-1].startswith("530 5.7.0")
    assert say("alpha.guarded", "EHLO c", "FOO", "FOO", "FOO", "FOO")[-1].startswith("421 ")


def test_a_unix_socket_takes_mail(box, tmp_path):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(10)
        wire.connect(str(tmp_path / "smtp.sock"))
        smtp = smtplib.SMTP()
        smtp.sock = wire
        assert smtp.getreply()[0] == 220
        smtp.sendmail("a@alpha.test", ["b@beta.test"], "Subject: by socket\r\n\r\n")
    assert box.wait_for(to="b@beta.test").subject == "by socket"
    assert str(box.services["alpha.local"]) == f"unix:{tmp_path / 'smtp.sock'}"


@pytest.mark.rfc(7505, "4.2")
def test_a_sender_whose_domain_takes_no_mail_is_refused():
    with Sandbox(parse('[zone]\n"null.test" = { MX = ["0 ."] }\n"mx.test" = { MX = ["0 mx.test"] }\n')) as box:
        with smtplib.SMTP(*box.services["alpha.smtp"]) as smtp:
            smtp.ehlo()
            assert smtp.mail("a@null.test")[0:2] == (
                550,
                b"5.7.27 <a@null.test>: the domain takes no mail, null MX (RFC 7505 section 4.2)",
            )
            for sender in ("a@mx.test", ""):
                assert smtp.mail(sender)[0] == 250
                smtp.rset()
        with pytest.raises(Exception, match=r"5\.7\.27"):
            box.send("b@beta.test", sender="a@null.test", subject="x", text="x")


def test_greylists_are_for_servers_and_logins_for_people_unless_a_listener_says_otherwise():
    text = """
        [sites.alpha]
        auth = "required"
        greylist = "5m"
        listeners.mx = { port = 0 }
        listeners.closed = { port = 0, auth = "required" }
        listeners.people = { port = 0, kind = "submission" }
        listeners.store = { port = 0, kind = "lmtp", greylist = "1m" }
    """
    alpha = parse(text).sites[0]
    found = {spec.service: (str(spec.authentication), spec.greylist) for spec in listener_specs(alpha, "127.0.0.1")}
    assert found == {
        "alpha.smtp": ("offered", 300.0),
        "alpha.submission": ("required", 0.0),
        "alpha.submissions": ("required", 0.0),
        "alpha.mx": ("offered", 300.0),
        "alpha.closed": ("required", 300.0),
        "alpha.people": ("required", 0.0),
        "alpha.store": ("required", 60.0),
    }


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('[sites.alpha]\noffers = ["PIPELINNING"]\n', r"sites\.alpha\.offers: .*did you mean PIPELINING"),
        ('[sites.alpha]\noffers = ["AUTH PLAIN"]\n', 'write auth = "off"'),
        ('[sites.alpha]\noffers = ["SIZE many"]\n', "a number may follow SIZE"),
        ('[sites.alpha]\noffers = ["DSN 5"]\n', "nothing may follow DSN"),
        ('[sites.alpha]\nmechanisms = ["GSSAPI"]\n', "'GSSAPI' is not one of SCRAM"),
        ('[sites.alpha]\ntrusted_peers = ["mx.test"]\n', "write a network like"),
        ("[sites.alpha]\nmax_errors = 0\n", "less than one"),
        ("[sites.alpha]\nlmtp = 70000\n", "not a port"),
        ("[sites.alpha.listeners.x]\nkind = 'smtp'\n", "needs a port, or else a socket"),
        ("[sites.alpha.listeners.x]\nport = 1\nsocket = '/x'\n", "needs a port, or else a socket"),
        ("[sites.alpha.listeners.x]\nport = 1\nkind = 'pop3'\n", "smtp, submission"),
        ("[sites.alpha.listeners.smtp]\nport = 1\n", "write sites.alpha.smtp = PORT"),
        ("[sites.alpha.listeners.x]\nport = 1\nofers = []\n", "did you mean offers"),
        ("[relay]\nconcurrency = 0\n", "at least 1"),
    ],
)
def test_wrong_settings_are_errors_that_name_them(text, wrong):
    with pytest.raises(ConfigError, match=wrong):
        parse(text)
