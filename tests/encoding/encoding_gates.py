"""The four sinks of the specification's cases, and short ways to ask both gates."""

from typing import Any

from encoding_comparing import differences

from mailsandbox.encoding import Accept, Convert, ReceiveMode, Refuse, RelayPolicy, Verdict, judge_received, prepare
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.extensions import Offers

S7 = Offers.parse(["PIPELINING"])
S8 = Offers.parse(["8BITMIME"])
SU = Offers.parse(["8BITMIME", "SMTPUTF8"])
SB = Offers.parse(["8BITMIME", "CHUNKING", "BINARYMIME"])
ALL = Offers.parse(["8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"])

MIME = "MIME-Version: 1.0"
UTF8 = "Content-Type: text/plain; charset=utf-8"
EIGHT = "Content-Transfer-Encoding: 8bit"
TRACE = b"X-MIME-Autoconverted: from %b to %b by relay.test id Q1\r\n"


def mail(*lines: str | bytes) -> bytes:
    """Lines joined by CRLF, with one after the last; text as UTF-8."""
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines)


def relay(
    octets: bytes,
    offers: Offers = S7,
    *,
    smtputf8: bool = False,
    body: str = "",
    sender: str = "a@alpha.test",
    recipients: tuple[str, ...] = ("b@beta.test",),
    **policy: Any,  # Any: fields of RelayPolicy
) -> Verdict:
    envelope = Envelope(sender, tuple(Recipient(address) for address in recipients), body, smtputf8)
    return prepare(
        octets, offers=offers, envelope=envelope, policy=RelayPolicy(host="relay.test", queue_id="Q1", **policy)
    )


def accepted(octets: bytes, offers: Offers = S7, **more: Any) -> Accept:  # Any: see relay
    """The verdict, which has to leave the octets as they are."""
    verdict = relay(octets, offers, **more)
    assert isinstance(verdict, Accept), verdict
    assert verdict.octets == octets
    return verdict


def converted(octets: bytes, offers: Offers = S7, **more: Any) -> Convert:  # Any: see relay
    """The conversion; what every conversion has to keep is checked here."""
    verdict = relay(octets, offers, **more)
    assert isinstance(verdict, Convert), verdict
    again = relay(verdict.octets, offers, **more)
    assert isinstance(again, Accept)
    assert again.octets == verdict.octets
    if not offers.keywords.keys() & {"8BITMIME", "BINARYMIME"}:
        assert differences(octets, verdict.octets) == []
        assert verdict.body == ""
    untouched(octets, verdict)
    return verdict


def untouched(octets: bytes, verdict: Convert) -> None:
    """Every octet that no edit names is in the result, in its place."""
    done = position = 0
    for edit in verdict.edits:
        kept = octets[done : edit.start]
        assert verdict.octets[position : position + len(kept)] == kept
        position += len(kept)
        assert verdict.octets[position : position + len(edit.after)] == edit.after
        position += len(edit.after)
        done = edit.end
    assert verdict.octets[position:] == octets[done:]


def refused(octets: bytes, offers: Offers = S7, **more: Any) -> Refuse:  # Any: see relay
    verdict = relay(octets, offers, **more)
    assert isinstance(verdict, Refuse), verdict
    return verdict


def received(
    octets: bytes,
    mode: str = "strict",
    *,
    body: str = "",
    smtputf8: bool = False,
    offers: Offers = ALL,
    via_bdat: bool = False,
) -> Verdict:
    return judge_received(
        octets, mode=ReceiveMode(mode), declared_body=body, smtputf8=smtputf8, offers=offers, via_bdat=via_bdat
    )


def rules(verdict: Verdict) -> list[str]:
    return [finding.rule for finding in verdict.findings]
