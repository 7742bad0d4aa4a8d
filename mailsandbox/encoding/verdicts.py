"""What a gate may answer, and what it may be told: Accept, Convert or Refuse, modes and policies as frozen values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from mailsandbox.message.findings import Edit, Finding
from mailsandbox.smtp.replies import Reply

MAX_FINDINGS: Final = 200  # of one verdict; a broken message repeats itself


class ReceiveMode(StrEnum):
    """How a listener treats what breaks a rule."""

    STRICT = "strict"  # refuse
    LENIENT = "lenient"  # accept, mark; the relay repairs
    NORMALIZE = "normalize"  # as lenient, and bare LF becomes CRLF


class Emulation(StrEnum):
    """Whose conversion the relay shows."""

    STRICT = "strict"  # the standards
    POSTFIX = "postfix"
    SENDMAIL = "sendmail"
    EXIM = "exim"


class OnNeed(StrEnum):
    """What to do where a message can only travel converted."""

    CONVERT = "convert"
    BOUNCE = "bounce"


@dataclass(frozen=True, slots=True)
class DkimKey:
    """Signs what leaves, after conversion (RFC 6376 §5.3)."""

    domain: str
    selector: str
    private_key: bytes  # PEM
    identity: str = ""


class RelayPolicy(msgspec.Struct, frozen=True):
    """How a site's relay treats a message that its next hop cannot carry as it is.

    `host`, `queue_id`: for X-MIME-Autoconverted. `unlabelled`: 8-bit text without Content-Type, labelled
    `unlabelled_charset` when converted (RFC 1428 §3). `repair`: replace by "?" what no header syntax can carry, instead
    of refusing. `downgrade_utf8`: convert a UTF-8 header although SMTPUTF8 was asked for, as a submission server may
    (RFC 6531 §3.2). `verify`: answers "pass", "fail" or "none" for the DKIM signatures of a message.
    """

    emulate: Emulation = Emulation.STRICT
    host: str = "localhost"
    queue_id: str = ""
    on_need: OnNeed = OnNeed.CONVERT
    unlabelled: OnNeed = OnNeed.CONVERT
    unlabelled_charset: str = "unknown-8bit"
    break_signatures: bool = False
    repair: bool = False
    downgrade_utf8: bool = False
    verify: Callable[[bytes], str] | None = None
    sign_after_convert: DkimKey | None = None


class Accept(msgspec.Struct, frozen=True):
    """The octets may pass as they are.

    `body`: BODY parameter to send ("" for none); `addresses`: envelope addresses to send in another form (A-labels);
    `refused`: recipients this hop can not be given, each with its reply, while the others may go.
    """

    octets: bytes
    findings: tuple[Finding, ...] = ()
    body: str = ""
    smtputf8: bool = False
    use_bdat: bool = False
    addresses: Mapping[str, str] = {}
    refused: Mapping[str, Reply] = {}
    edits: tuple[Edit, ...] = ()


class Convert(msgspec.Struct, frozen=True):
    """The octets may pass as changed here: `octets` are those received with `edits` applied."""

    octets: bytes
    edits: tuple[Edit, ...]
    findings: tuple[Finding, ...] = ()
    body: str = ""
    smtputf8: bool = False
    use_bdat: bool = False
    addresses: Mapping[str, str] = {}
    refused: Mapping[str, Reply] = {}


class Refuse(msgspec.Struct, frozen=True):
    """The octets may not pass: `reply` names rule, source, octet and part. The deciding finding is `fatal`."""

    reply: Reply
    findings: tuple[Finding, ...]


Verdict = Accept | Convert | Refuse


def refusal(code: int, finding: Finding) -> Reply:
    """The reply for a fatal finding: what, which rule of which document, and where."""
    where = f" at octet {finding.offset}" + (f" in part {finding.part}" if finding.part else "")
    return Reply(code, finding.enhanced, (f"{finding.text} [{finding.rule}, {finding.source}]{where}",))


def bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """At most MAX_FINDINGS, fatal ones first kept, and a note that says how many were left out."""
    if len(findings) <= MAX_FINDINGS:
        return tuple(findings)
    left_out = len(findings) - MAX_FINDINGS
    kept = [finding for finding in findings if finding.fatal][:MAX_FINDINGS]
    kept += [finding for finding in findings if not finding.fatal][: MAX_FINDINGS - len(kept)]
    return (*kept, Finding("more-findings", "", f"{left_out} more findings were left out"))
