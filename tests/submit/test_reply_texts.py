"""What a client is told: the cause by its name, its own words as it wrote them."""

import pytest
from test_connection import Wire, ended

from mailsandbox.errors import ConfigError
from mailsandbox.faults import Fault, Respond, action_of
from mailsandbox.submit.model import Authentication, Limits


@pytest.mark.rfc(5321, "4.1.1")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"  NOOP", "White space before the command"),
        (b"\tNOOP", "White space before the command"),
        (b"", "An empty line is no command"),
        (b" \t", "An empty line is no command"),
        (b"Foo bar", "Command Foo not recognized"),
        (b"foo", "Command foo not recognized"),
        ("Été".encode(), "Command \\u00c9t\\u00e9 not recognized"),
        (b"\xff\xfeX", "Command \\xff\\xfeX not recognized"),
        (b"\xe9", "Command \\xe9 not recognized"),
        ("\N{GRINNING FACE}".encode(), "Command \\U0001f600 not recognized"),
        (b"FO\x1b[2J", "Command FO?[2J not recognized"),
    ],
)
async def test_what_is_no_command_is_quoted_as_it_was_written(serve, line, said):
    wire = await Wire.connect(await serve())
    answer = await wire.ask(line + b"\r\n")
    assert answer.startswith(f"500 5.5.{1 if said[0] in 'CA' else 2} {said} (RFC 5321 section 4.")


@pytest.mark.rfc(4954, "4")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("AUTH", "501 5.5.4 AUTH needs a mechanism (RFC 4954 section 4)"),
        ("AUTH PLAIN a b", "501 5.5.4 AUTH takes a mechanism and one initial response (RFC 4954 section 4)"),
        ("AUTH PLAIN no!base64", "501 5.5.2 Not base64 (RFC 4954 section 4)"),
    ],
)
async def test_auth_is_told_what_is_missing_or_wrong(serve, line, said):
    wire = await Wire.connect(await serve())
    await wire.ask("EHLO client.test")
    assert await wire.ask(line) == f"{said}\r\n"


@pytest.mark.rfc(4954, "4")
async def test_bad_base64_is_told_in_the_same_words_wherever_it_stands(serve):
    wire = await Wire.connect(await serve())
    await wire.ask("EHLO client.test")
    first = await wire.ask("AUTH PLAIN no!base64")
    await wire.ask("AUTH PLAIN")
    assert await wire.ask("no!base64") == first


async def test_auth_takes_a_tab_as_it_takes_a_blank(serve):
    wire = await Wire.connect(await serve())
    await wire.ask("EHLO client.test")
    assert (await wire.ask("AUTH PLAIN\tAGJvYgBzZWNyZXQ=")).startswith("235 ")


async def test_one_second_is_said_so(serve):
    wire = await Wire.connect(await serve(greylist=1.0))
    await wire.ask("EHLO client.test")
    await wire.ask("MAIL FROM:<a@alpha.test>")
    assert "try again in 1 second (RFC 6647)" in await wire.ask("RCPT TO:<b@beta.test>")


@pytest.mark.parametrize(
    ("limits", "last"),
    [
        (Limits(messages=2), "MAIL FROM:<a@alpha.test>"),
        (Limits(errors=0), "VRFY"),
        (Limits(unknown_commands=1), "FOO"),
    ],
)
async def test_a_session_with_accepted_messages_that_ends_with_421_is_not_rejected(serve, limits, last):
    service = await serve(limits=limits, authentication=Authentication.OFF)
    wire = await Wire.connect(service)
    for _ in range(2):
        assert (await wire.send()).startswith("250 ")
    assert (await wire.ask(last)).startswith("421 ")
    await wire.closed()
    await ended(service.session())
    assert service.session().outcome == "closed"


async def test_a_session_without_an_accepted_message_that_ends_with_421_is_rejected(serve):
    service = await serve(limits=Limits(unknown_commands=1))
    wire = await Wire.connect(service)
    assert (await wire.ask("FOO")).startswith("421 ")
    await wire.closed()
    await ended(service.session())
    assert service.session().outcome == "rejected"


@pytest.mark.rfc(2034, "4")
@pytest.mark.parametrize("said", ["250 5.1.1 x", "550 4.1.1 x", "451 2.0.0 x", "354 5.0.0 x", "450 5.7.1"])
def test_a_fault_whose_enhanced_code_contradicts_its_class_is_refused(said):
    with pytest.raises(ConfigError, match=r"first digits"):
        action_of(reply=said)


@pytest.mark.parametrize("said", ["250 2.1.1 x", "550 5.1.1 x", "451 x", "354 go on"])
def test_a_fault_whose_enhanced_code_agrees_is_taken(said):
    assert str(action_of(reply=said))


async def test_every_command_of_the_server_is_a_stage_for_faults(serve):
    service = await serve()
    for verb in service.listener._shared.methods:
        Fault(Respond(451, "no"), protocol="smtp", stage=verb.lower())
    with pytest.raises(ConfigError, match="'foo' of smtp"):
        Fault(Respond(451, "no"), protocol="smtp", stage="foo")


@pytest.mark.parametrize(
    ("stage", "command", "hit"),
    [
        ("helo", "HELO c.test", True),
        ("helo", "EHLO c.test", False),
        ("ehlo", "HELO c.test", True),
        ("ehlo", "EHLO c.test", True),
        ("lhlo", "EHLO c.test", False),
        ("xclient", "XCLIENT NAME=x", True),
    ],
)
async def test_a_fault_for_a_greeting_is_for_that_greeting_and_ehlo_for_each(serve, stage, command, hit):
    service = await serve()
    service.context.faults.add(Fault(Respond(451, "scripted"), protocol="smtp", stage=stage))
    wire = await Wire.connect(service)
    assert ("scripted" in await wire.ask(command)) is hit
