"""What only a lenient listener lets pass: found when the line is read, and never in our own Received field."""

import re

import pytest
from test_connection import Wire, ended

from mailsandbox.message.trace import received_field

# RFC 5321 §4.4: From-domain = "FROM" FWS Extended-Domain, Extended-Domain = Domain [FWS "(" TCP-info ")"] or
# address-literal FWS "(" TCP-info ")"; then comments and "by".
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_LITERAL = rb"\[(?:\d+\.\d+\.\d+\.\d+|IPv6:[0-9a-fA-F:.]+)\]"
_FROM = re.compile(
    rb"Received: from (?:" + _LABEL + rb"(?:\." + _LABEL + rb")*|" + _LITERAL + rb") \(" + _LITERAL + rb"\)"
    rb"(?:\r\n\t\((?:[!-'*-\[\]-~]| )+\))*\r\n\tby "
)


def _remarks(findings) -> list[str]:
    return [one.text for one in findings if one.rule == "tolerated-syntax"]


async def _after(service, *lines: str):
    wire = await Wire.connect(service)
    replies = [await wire.ask(line) for line in lines]
    await wire.ask("QUIT")
    await ended(service.session())
    return replies, service.session()


@pytest.mark.rfc(5321, "4.1.2")
async def test_a_session_without_a_message_has_its_findings_too(serve):
    service = await serve(mode="lenient")
    replies, record = await _after(
        service, "EHLO c.test", "MAIL FROM: a@alpha.test", "RCPT TO:b_1@under_score.test", "RCPT TO:<x@-c.test>"
    )
    assert [said[:3] for said in replies] == ["250"] * 4
    assert [one.partition(" (")[0] for one in _remarks(record.findings)] == [
        "blank after the colon",
        "path without angle brackets",
        "path without angle brackets",
        "underscore in a domain",
        "label that begins or ends with a hyphen",
    ]


async def test_a_refused_line_leaves_its_finding(serve):
    service = await serve(mode="lenient")
    replies, record = await _after(service, "EHLO c.test", "MAIL FROM: <a@alpha.test> FOO=1")
    assert replies[-1].startswith("555")
    assert len(_remarks(record.findings)) == 1


async def test_an_accepted_message_has_each_finding_once_in_session_and_journey(serve):
    service = await serve(mode="lenient")
    wire = await Wire.connect(service)
    await wire.ask("EHLO a b")
    await wire.ask("MAIL FROM: <a@alpha.test>")
    await wire.ask("RCPT TO:<b@under_score.test>")
    await wire.ask("DATA")
    assert (await wire.ask(b"Subject: x\r\n\r\nbody\r\n.\r\n")).startswith("250")
    expected = ["greeted by no domain or address literal", "blank after the colon", "underscore in a domain"]
    assert [one.partition(" (")[0] for one in _remarks(service.session().findings)] == expected
    assert [one.partition(" (")[0] for one in _remarks(service.accepted[0].accepted.findings)] == expected


@pytest.mark.rfc(5321, "4.1.2")
@pytest.mark.parametrize("domain", ["-c.test", "c-.test", "c.-test", "c.test-", "a.-"])
@pytest.mark.parametrize(("line", "code"), [("MAIL FROM:<a@{}>", "553 5.1.8"), ("RCPT TO:<a@{}>", "553 5.1.2")])
async def test_a_label_with_a_hyphen_at_its_edge_is_refused_by_strict_and_found_by_lenient(serve, domain, line, code):
    first = [] if line.startswith("MAIL") else ["MAIL FROM:<>"]
    for mode, wanted in (("strict", code), ("lenient", "250 ")):
        service = await serve(mode=mode)
        replies, record = await _after(service, "EHLO c.test", *first, line.format(domain))
        assert replies[-1].startswith(wanted)
        assert ["hyphen" in one for one in _remarks(record.findings)] == [True] * (mode == "lenient")


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.parametrize(
    "name",
    ["a b", "<a>", '"q', "x)(y", "x;y", "my_pc", "-a.test", "[1.2.3]", "[x)(]", "a" * 400, "(", "\\", "a.", "[::1]"],
)
async def test_a_greeting_by_no_domain_is_found_and_the_received_field_stays_valid(serve, name):
    service = await serve(mode="lenient")
    wire = await Wire.connect(service)
    assert (await wire.ask(f"EHLO {name}")).startswith("250")
    assert len(_remarks(service.session().findings)) == 1
    await wire.ask("MAIL FROM:<a@alpha.test>")
    await wire.ask("RCPT TO:<b@beta.test>")
    await wire.ask("DATA")
    assert (await wire.ask(b"Subject: x\r\n\r\nbody\r\n.\r\n")).startswith("250")
    trace = service.accepted[0].trace
    assert _FROM.match(trace), trace
    assert trace.startswith(b'Received: from [127.0.0.1] ([127.0.0.1])\r\n\t(HELO "'), trace
    assert max(map(len, trace.split(b"\r\n"))) < 100


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.parametrize("name", ["c.test", "c", "xn--bcher-kva.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "1.2.3.4"])
def test_a_greeting_by_a_domain_or_address_literal_stands_as_it_is(name):
    field = received_field(helo=name, peer="192.0.2.7:25", by="b", protocol="ESMTP", queue_id="Q", at=0)
    assert field.startswith(f"Received: from {name} ([192.0.2.7])\r\n\tby b".encode())


async def test_strict_refuses_a_greeting_by_no_domain(serve):
    service = await serve(mode="strict")
    replies, record = await _after(service, "EHLO a b", "EHLO c.test")
    assert [said[:3] for said in replies] == ["501", "250"]
    assert _remarks(record.findings) == []
