"""MAIL and RCPT lines as the relay says them to a hop, with the parameters that this hop understands. Pure.

Invariant: a parameter is sent only where its extension is offered (RFC 5321 §4.1.1.11), and lines hold no control
characters, whatever the envelope was made of.
"""

from typing import Final

from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.xtext import decode_xtext, encode_utf8_address

_NOTIFY_ORDER: Final = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


def mail_parameters(
    envelope: Envelope, *, offers: Offers, octets: int, body: str, smtputf8: bool, seconds_used: float
) -> dict[str, str]:
    """The parameters of MAIL. `octets`: of the message as it will be sent, without dot-stuffing (RFC 1870 §5)."""
    parameters: dict[str, str] = {}
    if "SIZE" in offers:
        parameters["SIZE"] = str(octets)
    if body:
        parameters["BODY"] = body
    if smtputf8:
        parameters["SMTPUTF8"] = ""
    if "DSN" in offers:
        # RFC 3461 §5.2.1: RET and ENVID go on unchanged.
        if envelope.ret:
            parameters["RET"] = envelope.ret
        if envelope.envid:
            parameters["ENVID"] = envelope.envid
    if envelope.require_tls and "REQUIRETLS" in offers:
        parameters["REQUIRETLS"] = ""
    # gap: RFC 2852 §4.1: by-mode R goes on to a hop without DELIVERBY as well; the deadline holds while it is here.
    if envelope.deliver_by and "DELIVERBY" in offers:
        parameters["BY"] = _time_left(envelope.deliver_by, seconds_used)
    return parameters


def recipient_parameters(recipient: Recipient, *, offers: Offers, smtputf8: bool) -> dict[str, str]:
    """The parameters of RCPT."""
    parameters: dict[str, str] = {}
    if "DSN" in offers:
        # RFC 3461 §5.2.1: NOTIFY and ORCPT go on unchanged; ORCPT of type utf-8 in ASCII where need be (RFC 6533 §3).
        if recipient.notify:
            parameters["NOTIFY"] = ",".join(word for word in _NOTIFY_ORDER if word in recipient.notify)
        if recipient.orcpt:
            parameters["ORCPT"] = recipient.orcpt if smtputf8 else _ascii_orcpt(recipient.orcpt)
    return parameters


def mail_line(reverse_path: str, parameters: dict[str, str]) -> bytes:
    """ "MAIL FROM:<a@alpha.test> SIZE=120" without CRLF."""
    return _line("MAIL FROM", reverse_path, parameters)


def recipient_line(forward_path: str, parameters: dict[str, str]) -> bytes:
    """ "RCPT TO:<b@beta.test> NOTIFY=NEVER" without CRLF."""
    return _line("RCPT TO", forward_path, parameters)


def sendable(address: str) -> bool:
    """Whether an address may stand in a command line: a CR or LF in it would be another command."""
    return address.isprintable() and "<" not in address and ">" not in address


def _line(verb: str, address: str, parameters: dict[str, str]) -> bytes:
    words = [f"{verb}:<{address}>"]
    words.extend(f"{keyword}={value}" if value else keyword for keyword, value in parameters.items())
    return " ".join(words).encode("utf-8", "backslashreplace")


def _time_left(deliver_by: str, seconds_used: float) -> str:
    # RFC 2852 §4: by-time is decremented by the time the message was here.
    seconds, _, mode = deliver_by.partition(";")
    left = int(seconds) - int(seconds_used) if seconds.lstrip("+-").isdecimal() else 0
    return f"{left};{mode}"


def _ascii_orcpt(orcpt: str) -> str:
    if orcpt.isascii():
        return orcpt
    kind, _, address = orcpt.partition(";")
    try:
        address = decode_xtext(address) if kind.lower() != "utf-8" else address
    except ValueError:
        pass
    return f"utf-8;{encode_utf8_address(address)}"
