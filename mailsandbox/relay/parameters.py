"""MAIL and RCPT lines as the relay says them to a hop, with the parameters that this hop understands. Pure.

Invariant: a parameter is sent only where its extension is offered (RFC 5321 §4.1.1.11), and lines hold no control
characters, whatever the envelope was made of.
"""

import re
from typing import Final

from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.deliver_by import least_time, parse_deliver_by
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.smtp.xtext import decode_xtext, encode_utf8_address, encode_xtext, is_xtext

_NO_VALUE: Final = re.compile(r"[\x00- =\x7f]+")
_NOTIFY_ORDER: Final = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


def mail_parameters(
    envelope: Envelope, *, offers: Offers, octets: int, body: str, smtputf8: bool, seconds_used: float
) -> dict[str, str]:
    """The parameters of MAIL. `octets`: of the message as it will be sent, without dot-stuffing (RFC 1870 §5)."""
    parameters: dict[str, str] = {}
    offered = offers.keywords
    if "SIZE" in offered:
        parameters["SIZE"] = str(octets)
    if body:
        parameters["BODY"] = body
    if smtputf8:
        parameters["SMTPUTF8"] = ""
    if "DSN" in offered:
        # RFC 3461 §5.2.1: RET and ENVID go on unchanged; what did not come by SMTP may be no xtext yet.
        if envelope.ret:
            parameters["RET"] = envelope.ret
        if envelope.envid:
            parameters["ENVID"] = envelope.envid if is_xtext(envelope.envid) else encode_xtext(envelope.envid)
    if envelope.require_tls and "REQUIRETLS" in offered:
        parameters["REQUIRETLS"] = ""
    if "DELIVERBY" in offered and (by := parse_deliver_by(envelope.deliver_by)) is not None:
        parameters["BY"] = str(by.after(seconds_used))
    return parameters


def recipient_parameters(
    recipient: Recipient, *, offers: Offers, smtputf8: bool, tell_delay: bool = False
) -> dict[str, str]:
    """The parameters of RCPT. `tell_delay`: the server is asked for it, as it keeps no deadline."""
    parameters: dict[str, str] = {}
    if "DSN" in offers.keywords:
        # RFC 3461 §5.2.1: NOTIFY and ORCPT go on unchanged; ORCPT of type utf-8 in ASCII where need be (RFC 6533 §3).
        notify = recipient.notify
        if tell_delay and "NEVER" not in notify:
            # RFC 2852 §4.1.4.2, in spite of RFC 3461 §5.2.1 (c).
            notify = (notify or frozenset({"FAILURE"})) | {"DELAY"}
        if notify:
            parameters["NOTIFY"] = ",".join(word for word in _NOTIFY_ORDER if word in notify)
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
    line = f"{verb}:<{address}>"
    for keyword, value in parameters.items():
        # RFC 5321 §4.1.2: a space or "=" in an esmtp-value would begin another parameter, a CR LF another command.
        line += f" {keyword}={_NO_VALUE.sub(_escaped, value)}" if value else f" {keyword}"
    return line.encode("utf-8", "backslashreplace")


def _escaped(found: re.Match[str]) -> str:
    return encode_xtext(found[0])


def deadline_refused(envelope: Envelope, *, offers: Offers, seconds_used: float, lmtp: bool = False) -> Reply | None:
    """Why a message that is to be delivered in time or not at all may not go to a server with these offers."""
    by = parse_deliver_by(envelope.deliver_by)
    if by is None or not by.returns:
        return None
    left = by.after(seconds_used).seconds
    if left <= 0:
        return reply(554, "5.4.7", "The time for delivering it is over (RFC 2852 §4.1.3)")
    if lmtp:
        return None  # delivered at once, or still ours
    if "DELIVERBY" not in offers:
        # RFC 2852 §4.1.4.1: nobody behind such a server would return it in time. RFC 3463 §3.4: X.3.3 not capable.
        return reply(554, "5.3.3", "DELIVERBY is not offered, which BY=...;R needs (RFC 2852 §4.1.4.1)")
    if left < (minimum := least_time(offers)):
        # RFC 2852 §4.1.4.1: such a BY is refused there.
        return reply(554, "5.4.7", f"{left} seconds are left, {minimum} are asked for (RFC 2852 §4.1.4.1)")
    return None


def deadline_ends(envelope: Envelope, *, offers: Offers, seconds_used: float, lmtp: bool = False) -> bool:
    """Whether a deadline that is still ahead goes no further: the server does not know it (by-mode N only).

    RFC 2852 §4.1.4.2: the sender is told of the relay, and the server is asked to tell delays, if it can.
    """
    by = parse_deliver_by(envelope.deliver_by)
    return by is not None and not lmtp and "DELIVERBY" not in offers and by.after(seconds_used).seconds > 0


def deadline_traced(envelope: Envelope) -> bool:
    """Whether by-trace asks for every relay to be told (RFC 2852 §4.1.4)."""
    by = parse_deliver_by(envelope.deliver_by)
    return by is not None and by.trace


def _ascii_orcpt(orcpt: str) -> str:
    if orcpt.isascii():
        return orcpt
    kind, _, address = orcpt.partition(";")
    try:
        address = decode_xtext(address) if kind.lower() != "utf-8" else address
    except ValueError:
        pass
    return f"utf-8;{encode_utf8_address(address)}"
