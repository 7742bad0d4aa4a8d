"""What is remembered of a client's lines: enough to see what it did, never a password or message data."""

import asyncio
import contextlib
import re

import pytest
from smtp_services import Services

from mailsandbox.smtp.extensions import Offers
from mailsandbox.submit import legible
from mailsandbox.submit.legible import Legible
from mailsandbox.submit.model import Authentication

DEADLINE = 10.0
SECRET = "c2VjcmV0IHdvcmQ="
COMMANDS = (
    "EHLO",
    "HELO",
    "LHLO",
    "MAIL",
    "RCPT",
    "DATA",
    "BDAT",
    "RSET",
    "NOOP",
    "QUIT",
    "HELP",
    "VRFY",
    "AUTH",
    "ETRN",
)


@pytest.mark.parametrize("in_doubt", [False, True])
@pytest.mark.parametrize(
    "line",
    ["DATA", "MAIL FROM:<>", "MAIL FROM:<a@alpha.test>", "MAIL FROM:<a@alpha.test> SIZE=1 BODY=8BITMIME SMTPUTF8"],
)
def test_what_nearly_all_clients_say_is_shown_as_the_rules_have_it(line, in_doubt, monkeypatch):
    quick, slow = Legible(COMMANDS), Legible(COMMANDS)
    quick.in_doubt = slow.in_doubt = in_doubt
    assert legible._USUAL.match(line)
    shown = quick.line(line)
    monkeypatch.setattr(legible, "_USUAL", re.compile(r"(?!)"))
    assert (shown, quick.in_doubt) == (slow.line(line), slow.in_doubt)
    assert shown == line


async def _remembered(service, *lines: str, together: bool = True) -> list[str]:
    """Everything in the session after these lines and the end of the client's side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        await _say(reader, writer, lines, together=together)
    finally:
        writer.close()
    record = service.session()
    async with asyncio.timeout(DEADLINE):
        while record.ended_at is None:
            await asyncio.sleep(0)
    return [f"{line.side} {line.text}" for line in record.transcript]


async def _say(reader, writer, lines, *, together: bool) -> None:
    await asyncio.wait_for(reader.readline(), DEADLINE)
    writer.write(lines[0].encode() + b"\r\n")
    rest = [line.encode() + b"\r\n" for line in lines[1:]]
    with contextlib.suppress(ConnectionError):  # it may close before it has heard all
        for group in [b"".join(rest)] if together else rest:
            await asyncio.wait_for(reader.read(4096), DEADLINE)
            writer.write(group)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), DEADLINE)


@pytest.mark.rfc(4954, "4")
@pytest.mark.parametrize("together", [True, False], ids=["in one group", "one by one"])
@pytest.mark.parametrize(
    "lines",
    [
        ["AUTH LOGIN", "YW5u", SECRET],
        ["AUTH LOGIN YW5u", SECRET],
        [f"AUTH PLAIN {SECRET}", "YW5u", SECRET],
        [f"AUTH\tPLAIN {SECRET}"],
        [f"AUTH\tPLAIN\t{SECRET}"],
        [f"AUTH\t{SECRET}"],
        [f"AUTH {SECRET}"],
        [f" AUTH PLAIN {SECRET}"],
        [f"AUTH  PLAIN  {SECRET}"],
        [f"AUTH PLAIN\x0b{SECRET}"],
        [f"\x00AUTH PLAIN {SECRET}"],
        [f"AUHT PLAIN {SECRET}", SECRET],
        [f"AUTHPLAIN {SECRET}", SECRET],
        ["AUHT LOGIN", SECRET],
        [f"AUTHENTICATE PLAIN {SECRET}", SECRET],
        [f"a1 LOGIN ann {SECRET}"],
        ["USER ann", f"PASS {SECRET}"],
        ["LOGIN ann", SECRET],
        ["AUTH PLAIN AGJvYgBzZWNyZXQ=", SECRET],
        [f"é AUTH PLAIN {SECRET}"],
        ["AUTH LOGIN", "NOOP", SECRET],
    ],
    ids="|".join,
)
@pytest.mark.parametrize("offered", [True, False], ids=["offered", "off"])
async def test_no_line_that_may_be_a_secret_is_remembered(serve, offered, lines, together):
    service = await serve(
        authentication=Authentication.OFFERED if offered else Authentication.OFF,
        **({} if offered else {"offers": Offers.parse([])} if not together else {}),
    )
    everything = await _remembered(service, "EHLO client.test", *lines, "NOOP", together=together)
    assert not any(SECRET[:6].lower() in line.lower() for line in everything), everything
    assert not any("YW5u" in line for line in everything), everything


async def test_credentials_sent_though_auth_is_not_offered_nor_pipelining_are_not_remembered(serve):
    service = await serve(authentication=Authentication.OFF, offers=Offers.parse([]))
    everything = await _remembered(service, "EHLO client.test", "AUTH LOGIN", "YW5u", SECRET)
    assert everything[-3].startswith("C AUTH LOGIN")
    assert everything[-2] == "C [24 octets, not answered]"
    assert SECRET not in "".join(everything)


@pytest.mark.rfc(5321, "4.1.1.4")
@pytest.mark.parametrize(
    "lines",
    [
        ["DATA", "Subject: smug", "", "help me", "X", "."],
        ["RCPT TO:<b@beta.test>", "DATA", "Subject: smug", "", "help me"],
        ["MAIL FROM:<a@alpha.test>", "DATA", "help me", "Mail from me", "quit your job", "data of mine", "mali my"],
        ["MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>", "DATA", "help me", "Subject: smug"],
        ["MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>", "BDAT 3 LAST", "abchelp me", "Subject: smug", "your my"],
        ["MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>", "BDAT x", "help me", "Subject: smug"],
    ],
    ids=lambda lines: "|".join(lines)[-40:],
)
async def test_message_data_that_comes_where_commands_are_read_is_not_remembered(serve, lines):
    service = await serve()
    everything = await _remembered(service, "EHLO client.test", *lines)
    said = [line for line in everything if line.startswith("C ")]
    assert not any(re.search(r"\b(me|my|mine|your|smug)\b", line) for line in said), said


async def test_data_before_the_354_is_counted(serve):
    service = await serve()
    everything = await _remembered(
        service, "EHLO client.test", "MAIL FROM:<a@alpha.test>", "RCPT TO:<b@beta.test>", "DATA", "Subject: smug", "."
    )
    assert everything[-3:-1] == ["C DATA", "C [18 octets, not answered]"]


async def test_a_reply_does_not_repeat_what_is_not_shown_of_a_command(serve):
    service = await serve()
    everything = await _remembered(service, "EHLO client.test", "DATA", "Mail from:<a@alpha.test> hunter2!", "NOOP")
    assert "hunter2" not in "|".join(everything).lower()
    assert everything[-5:-3] == ["C Mail [28 octets]", "S 501 5.5.4 ***"]


async def test_a_smuggled_command_is_named(serve):
    service = await serve()
    everything = await _remembered(service, "EHLO client.test", "STARTTLS", "MAIL FROM:<a@alpha.test>", "RCPT TO:<b@b>")
    assert everything[-4:-1] == ["C STARTTLS", "C MAIL FROM:<a@alpha.test>", "C [15 octets, not answered]"]


@pytest.mark.parametrize(
    "line",
    [
        "HELP ME",
        "MIAL FROM:<a@alpha.test>",
        "MAIL FORM:<a@alpha.test>",
        "MAIL\tFROM:<a@alpha.test>",
        "RCTP TO:<a@alpha.test>",
        "  NOOP",
        "HLEO client.test",
        "EHLO a b",
        "QUTI",
        "FOO",
    ],
)
def test_a_mistyped_command_is_legible(line):
    assert Legible(COMMANDS).line(line) == line


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("MAIL FROM:<a@alpha.test> SIZE=1 BODY=8BITMIME", "MAIL FROM:<a@alpha.test> SIZE=1 BODY=8BITMIME"),
        ("mial from:<a@alpha.test>", "mial from:<a@alpha.test>"),
        ("RCPT TO: a@alpha.test", "RCPT TO: a@alpha.test"),
        ('RCPT TO:<"a b"@alpha.test>', 'RCPT TO:<"a b"@alpha.test>'),
        ("QUIT", "QUIT"),
        ("QUIT your job", "QUIT [8 octets]"),
        ("Mail from me", "Mail [7 octets]"),
        ("QUTI", "[4 octets that are no command]"),
        ("YWJj", "[4 octets that are no command]"),
        ("Subject: é", "[11 octets that are no command]"),
        ("EHLO client.test", "EHLO client.test"),
        ("AUTH PLAIN YWJj", "AUTH PLAIN ***"),
        ("BDAT 5 LAST", "BDAT 5 LAST"),
        ("", ""),
    ],
)
def test_after_auth_or_data_only_what_has_the_form_of_a_command_is_shown(line, shown):
    legible = Legible(COMMANDS)
    legible.line("AUTH LOGIN")
    assert legible.line(line) == shown


@pytest.mark.parametrize("accepted", ["MAIL FROM:<a@alpha.test>", "RSET"])
async def test_an_accepted_command_ends_the_doubt(serve, accepted):
    service = await serve(authentication=Authentication.OFF)
    everything = await _remembered(service, "EHLO client.test", "AUTH LOGIN", accepted, "HELP ME")
    assert "C HELP ME" in everything


async def test_a_response_that_comes_after_the_login_is_not_remembered(serve):
    service = await serve()
    everything = await _remembered(service, "EHLO client.test", "AUTH PLAIN AGJvYgBzZWNyZXQ=", "hunter", "QUIT my")
    assert any(line.startswith("S 235") for line in everything)
    assert "C [6 octets that are no command]" in everything
    assert "C QUIT [2 octets]" in everything


async def test_a_reply_quotes_what_is_no_command_and_the_record_does_not(server_tls):
    async with Services(server_tls) as serve:
        service = await serve()
        everything = await _remembered(service, f"{SECRET}")
    assert everything[-3:-1] == [
        f"C [{len(SECRET)} octets that are no command]",
        "S 500 5.5.1 Command *** not recognized (RFC 5321 §4.2.4)",
    ]


@pytest.mark.rfc(4954, "4")
@pytest.mark.parametrize("bad", ["not base64", "*", "=", "é"])
async def test_the_answer_to_a_challenge_stands_before_the_reply_to_it(serve, bad):
    service = await serve()
    everything = await _remembered(service, "EHLO client.test", "AUTH LOGIN", bad, together=False)
    at = everything.index("C AUTH LOGIN")
    assert everything[at + 1 : at + 3] == ["S 334 ***", "C ***"]
    assert everything[at + 3].startswith("S 501 5." if bad != "=" else "S 5"), everything[at + 3]


async def test_a_record_of_a_reply_without_enhanced_code_has_none(serve):
    service = await serve(enhanced_codes=False)
    everything = await _remembered(service, SECRET)
    assert "S 500 Command *** not recognized (RFC 5321 §4.2.4)" in everything
