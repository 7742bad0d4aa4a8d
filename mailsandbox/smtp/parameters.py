"""The ESMTP parameters of MAIL, RCPT and BDAT: syntax, and the meaning of each that a server may offer.

    SIZE RFC 1870   BODY RFC 6152, RFC 3030   SMTPUTF8 RFC 6531   RET ENVID NOTIFY ORCPT RFC 3461
    AUTH RFC 4954 §5   REQUIRETLS RFC 8689   BY RFC 2852

Invariant: what is not offered is refused as unknown (RFC 5321 §4.1.1.11), never ignored. Pure: text in, values or
the refusing reply out. Whether the order of commands allows it is the transaction's business.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from mailsandbox.smtp.deliver_by import least_time, parse_deliver_by
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.smtp.xtext import is_xtext

MAX_SIZE_DIGITS: Final = 20  # RFC 1870 §3
MAX_ENVID: Final = 100  # characters, RFC 3461 §4.4
MAX_ORCPT: Final = 500  # characters, RFC 3461 §4.2

_PARAMETER: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\ud7ff\ue000-\U0010ffff]+))?\Z"
)  # RFC 5321 §4.1.2
_ORCPT: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*);(.+)\Z")  # RFC 3461 §4.2: addr-type ";" xtext
_BDAT: Final = re.compile(
    rb"([0-9]{1,20})(?: +(LAST))?[ \t]*\Z", re.IGNORECASE
)  # RFC 3030 §2; digits as in RFC 1870 §3

_NOTIFY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})


class MailParameters(msgspec.Struct, frozen=True):
    """What MAIL declared. `given` has every parameter as written, by upper-case keyword, for reports."""

    given: dict[str, str]
    size: int | None = None
    body: str = ""  # "", "7BIT", "8BITMIME", "BINARYMIME"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False
    deliver_by: str = ""
    auth: str = ""


class RcptParameters(msgspec.Struct, frozen=True):
    """What RCPT declared."""

    given: dict[str, str]
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


_NO_MAIL_PARAMETERS: Final = MailParameters({})
_NO_RCPT_PARAMETERS: Final = RcptParameters({})


def split_parameters(text: str) -> dict[str, str] | Reply:
    """ "SIZE=1 SMTPUTF8" as {"SIZE": "1", "SMTPUTF8": ""}; the refusing reply where the syntax is wrong."""
    given: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.match(word)
        if match is None:
            return reply(501, "5.5.4", f"Malformed parameter {word[:40]} (RFC 5321 §4.1.2)")
        keyword = match[1].upper()
        if keyword in given:
            return reply(501, "5.5.4", f"Parameter {keyword} given twice")
        given[keyword] = match[2] or ""
    return given


def parse_mail(text: str, *, offered: Offers, limit: int | None) -> MailParameters | Reply:
    """The parameters after MAIL's path. `offered`: EHLO keywords of this session; `limit`: largest message."""
    if not text:
        return _NO_MAIL_PARAMETERS
    if text.startswith("SIZE=") and _is_size(digits := text[5:], limit) and "SIZE" in offered:
        return MailParameters({"SIZE": digits}, size=int(digits))  # all that most servers say
    given = split_parameters(text)
    if not isinstance(given, dict):
        return given
    for keyword, value in given.items():
        if (extension := _EXTENSION_OF_MAIL.get(keyword)) is None or extension not in offered:
            # RFC 5321 §4.1.1.11: 555 for parameters not recognized or not implemented.
            return reply(555, "5.5.4", f"MAIL parameter {keyword} is not offered here (RFC 5321 §4.1.1.11)")
        if (refusal := _check_mail(keyword, value, offered, limit)) is not None:
            return refusal
    return MailParameters(
        given,
        size=int(given["SIZE"]) if "SIZE" in given else None,
        body=given.get("BODY", "").upper(),
        smtputf8="SMTPUTF8" in given,
        ret=given.get("RET", "").upper(),
        envid=given.get("ENVID", ""),
        require_tls="REQUIRETLS" in given,
        deliver_by=given.get("BY", ""),
        auth=given.get("AUTH", ""),
    )


_EXTENSION_OF_MAIL: Final = {
    "SIZE": "SIZE",
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "AUTH": "AUTH",
    "REQUIRETLS": "REQUIRETLS",
    "BY": "DELIVERBY",
}


def _check_mail(keyword: str, value: str, offered: Offers, limit: int | None) -> Reply | None:
    match keyword:
        case "SIZE":
            if not (value.isdecimal() and value.isascii() and len(value) <= MAX_SIZE_DIGITS):
                return reply(501, "5.5.4", f"SIZE takes 1 to {MAX_SIZE_DIGITS} digits (RFC 1870 §3)")
            if limit is not None and int(value) > limit:
                # RFC 1870 §6.1: a declared size above the fixed maximum is refused at MAIL.
                return reply(552, "5.3.4", f"Declared {value} octets, the limit is {limit} (RFC 1870 §6.1)")
        case "BODY":
            return _check_body(value.upper(), offered)
        case "SMTPUTF8" | "REQUIRETLS":
            if value:
                return reply(501, "5.5.4", f"{keyword} takes no value")
        case "RET":
            if value.upper() not in ("FULL", "HDRS"):
                return reply(501, "5.5.4", "RET is FULL or HDRS (RFC 3461 §4.3)")
        case "ENVID":
            if not value or len(value) > MAX_ENVID or not is_xtext(value):
                return reply(501, "5.5.4", f"ENVID is 1 to {MAX_ENVID} characters of xtext (RFC 3461 §4.4)")
        case "AUTH":
            if not value or (value != "<>" and not is_xtext(value)):
                return reply(501, "5.5.4", "AUTH is a mailbox in xtext or <> (RFC 4954 §5)")
        case "BY":
            return _check_by(value, offered)
    return None


def _is_size(digits: str, limit: int | None) -> bool:
    return (
        len(digits) <= MAX_SIZE_DIGITS
        and digits.isdecimal()
        and digits.isascii()
        and (limit is None or int(digits) <= limit)
    )


def _check_body(value: str, offered: Offers) -> Reply | None:
    if value in ("7BIT", "8BITMIME"):
        return None
    if value != "BINARYMIME":
        return reply(501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME (RFC 6152 §2, RFC 3030 §3)")
    if "BINARYMIME" not in offered or "CHUNKING" not in offered:
        # RFC 3030 §3: BINARYMIME travels by BDAT only, so without CHUNKING there is none.
        return reply(555, "5.5.4", "BODY=BINARYMIME is not offered here (RFC 5321 §4.1.1.11)")
    return None


def _check_by(value: str, offered: Offers) -> Reply | None:
    by = parse_deliver_by(value)
    if by is None:
        return reply(501, "5.5.4", "BY is seconds;N or seconds;R with more than 0 seconds, T for trace (RFC 2852 §4)")
    if by.returns and by.seconds < least_time(offered):
        return reply(555, "5.4.7", f"Delivery within {by.seconds} seconds can not be promised (RFC 2852 §3)")
    return None


def parse_rcpt(text: str, *, offered: Offers, smtputf8: bool = False) -> RcptParameters | Reply:
    """The parameters after RCPT's path. `smtputf8`: whether MAIL asked for it, so that ORCPT may be UTF-8."""
    if not text:
        return _NO_RCPT_PARAMETERS
    given = split_parameters(text)
    if not isinstance(given, dict):
        return given
    for keyword, value in given.items():
        if keyword not in ("NOTIFY", "ORCPT") or "DSN" not in offered:
            return reply(555, "5.5.4", f"RCPT parameter {keyword} is not offered here (RFC 5321 §4.1.1.11)")
        refusal = _check_notify(value) if keyword == "NOTIFY" else _check_orcpt(value, smtputf8=smtputf8)
        if refusal is not None:
            return refusal
    notify = frozenset(given["NOTIFY"].upper().split(",")) if "NOTIFY" in given else frozenset()
    return RcptParameters(given, notify, given.get("ORCPT", ""))


def _check_notify(value: str) -> Reply | None:
    # RFC 3461 §4.1: NEVER stands alone; the others are a list without repetition of order or sense.
    words = value.upper().split(",")
    if words == ["NEVER"] or (words and _NOTIFY.issuperset(words)):
        return None
    return reply(501, "5.5.4", "NOTIFY is NEVER alone, or a list of SUCCESS, FAILURE, DELAY (RFC 3461 §4.1)")


def _check_orcpt(value: str, *, smtputf8: bool) -> Reply | None:
    match = _ORCPT.match(value)
    wrong = reply(501, "5.5.4", f"ORCPT is addr-type;xtext of at most {MAX_ORCPT} characters (RFC 3461 §4.2)")
    if match is None or len(value) > MAX_ORCPT:
        return wrong
    if match[1].lower() == "utf-8":
        # RFC 6533 §3: utf-8-addr-unitext only where SMTPUTF8 was asked for.
        return None if value.isascii() or smtputf8 else wrong
    return None if is_xtext(match[2]) else wrong


@dataclass(frozen=True, slots=True)
class Chunk:
    """One BDAT command: how many octets follow it, and whether they are the last."""

    octets: int
    last: bool


def parse_bdat(argument: bytes) -> Chunk | None:
    """BDAT's argument; None where the syntax is wrong, and so the number of octets unknown (RFC 3030 §2)."""
    match = _BDAT.match(argument)
    return Chunk(int(match[1]), match[2] is not None) if match else None
