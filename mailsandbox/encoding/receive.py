"""The receive gate: were these octets legal for what the client declared and we offered?

Invariants: judged by octets, never by labels; nothing is changed but bare LF in mode normalize; any octets get a
verdict. End of data and dot-stuffing were the business of `submit`: here the message is whole.
"""

import re
from dataclasses import replace
from typing import Final

from mailsandbox.encoding.classify import Inspection, is_clean, judged_parts, offences
from mailsandbox.encoding.lint import lint
from mailsandbox.encoding.verdicts import Accept, Convert, ReceiveMode, Refuse, Verdict, bounded, refusal
from mailsandbox.message.findings import Edit, Finding
from mailsandbox.message.spans import Part, Span, scan
from mailsandbox.smtp.extensions import Offers

MAX_SINGLE_EDITS: Final = 1_000  # more bare LFs than that are reported as one edit
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_LIMITS: Final = frozenset({"nesting-limit", "header-limit", "part-limit"})  # refused in every mode


def judge_received(
    octets: bytes,
    *,
    mode: ReceiveMode,
    declared_body: str,
    smtputf8: bool,
    offers: Offers,
    via_bdat: bool,
    clean: bool | None = None,
) -> Verdict:
    """Accept, Convert (only in normalize) or Refuse a message at its end of data.

    `declared_body`: "", "7BIT", "8BITMIME" or "BINARYMIME"; `octets`: un-stuffed, without our own trace fields;
    `clean`: what `is_clean` says of them, where it is known.
    """
    if clean is None:
        clean = is_clean(octets)
    if clean and _plain_header(octets):  # most mail
        return Accept(octets)
    return _Gate(octets, mode, declared_body.upper(), smtputf8, offers, via_bdat).verdict(clean=clean)


class _Gate:
    """One judgement; `_fatal` collects what strict mode refuses, with its reply code, in order of severity."""

    def __init__(
        self, octets: bytes, mode: ReceiveMode, declared: str, smtputf8: bool, offers: Offers, via_bdat: bool
    ) -> None:
        self.octets = octets
        self.mode = mode
        self.declared = declared
        self.smtputf8 = smtputf8 and "SMTPUTF8" in offers
        # RFC 3030 §3: binary is legal only if declared, offered and sent by BDAT.
        self.binary = declared == "BINARYMIME" and "BINARYMIME" in offers and via_bdat
        self.eight_bit = self.binary or (declared == "8BITMIME" and "8BITMIME" in offers)
        self.via_bdat = via_bdat
        self.violations: list[tuple[int, Finding]] = []

    def verdict(self, *, clean: bool) -> Verdict:
        octets = self.octets
        root = scan(octets)
        findings = lint(Inspection(octets), root, eight_bit=not clean, binary_allowed=self.binary)
        if not clean:
            self._line_rules(root)
            self._eight_bit_rules(root)
        refused = next(((554, found) for found in findings if found.rule in _LIMITS), None)
        if refused is None and self.mode is ReceiveMode.STRICT and self.violations:
            refused = self.violations[0]
        findings = [finding for _, finding in self.violations] + findings
        if refused is not None:
            code, cause = refused
            fatal = replace(cause, fatal=True)
            findings[findings.index(cause)] = fatal
            return Refuse(refusal(code, fatal), bounded(findings))
        if self.mode is ReceiveMode.NORMALIZE and not clean and not self.via_bdat:
            converted, edits = normalize_line_ends(octets)
            if edits:
                return Convert(converted, edits, bounded(findings))
        return Accept(octets, bounded(findings))

    def _violation(
        self,
        rule: str,
        source: str,
        text: str,
        offset: int,
        *,
        code: int = 554,
        enhanced: str = "5.6.0",
        part: str = "",
    ) -> None:
        self.violations.append((code, Finding(rule, source, text, offset, part, enhanced)))

    def _line_rules(self, root: Part) -> None:
        # A binary body may hold anything, the header may not.
        span = root.header if self.binary else Span(0, len(self.octets))
        found = offences(self.octets, span.start, span.end)
        if found.bare_lf >= 0:
            # RFC 5321 §2.3.8, §4.1.1.4: CR and LF only together, as a line end.
            self._at(
                "bare-lf", "RFC 5321 §2.3.8", "bare <LF> received", found.bare_lf, root, code=550, enhanced="5.5.2"
            )
        if found.bare_cr >= 0:
            self._at(
                "bare-cr", "RFC 5321 §2.3.8", "bare <CR> received", found.bare_cr, root, code=550, enhanced="5.5.2"
            )
        if found.nul >= 0:
            self._at("nul", "RFC 5322 §3.5", "NUL octet in message", found.nul, root)
        if found.long_line >= 0:
            # RFC 5322 §2.1.1 and RFC 5321 §4.5.3.1.6.
            self._at("long-line", "RFC 5322 §2.1.1", "line longer than 998 octets", found.long_line, root)

    def _at(
        self, rule: str, source: str, text: str, offset: int, root: Part, *, code: int = 554, enhanced: str = "5.6.0"
    ) -> None:
        self._violation(rule, source, text, offset, code=code, enhanced=enhanced, part=part_at(root, offset))

    def _eight_bit_rules(self, root: Part) -> None:
        octets = self.octets
        if octets.isascii():
            return
        for part in judged_parts(root):
            header = offences(octets, part.header.start, part.header.end)
            if header.eight_bit >= 0:
                self._eight_bit_header(part, header.eight_bit)
        if self.eight_bit:
            return
        body = offences(octets, root.body.start, root.body.end).eight_bit
        if body >= 0:
            # RFC 6152 §3: a false declaration; RFC 5321 §2.4: the server MAY reject, SHOULD NOT clear the bit.
            text = "8-bit content without BODY=8BITMIME"
            number = part_at(root, body)
            self._violation("undeclared-8bit", "RFC 6152 §3", text, body, enhanced="5.6.1", part=number)

    def _eight_bit_header(self, part: Part, offset: int) -> None:
        octets = self.octets[part.header.start : part.header.end]
        try:
            octets.decode("utf-8")
            utf8 = True
        except UnicodeDecodeError:
            utf8 = False
        if utf8 and self.smtputf8:
            return  # RFC 6532 §3: that is what SMTPUTF8 is for.
        if utf8:
            text = "UTF-8 in message header without SMTPUTF8"
            self._violation("utf8-header", "RFC 6531 §3.1", text, offset, enhanced="5.6.9", part=part.number)
        else:
            text = "improper use of 8-bit data in message header"
            self._violation("8bit-header", "RFC 5322 §2.2", text, offset, part=part.number)


def _plain_header(octets: bytes) -> bool:
    """A header that the scanner would find nothing about: non-MIME, of ordinary size. Saves most mail the scan."""
    end = octets.find(b"\r\n\r\n")
    if not 0 < end < 20_000 or octets[:end].lower().find(b"content-") >= 0:
        return False
    return _PLAIN.fullmatch(octets, 0, end + 2) is not None


_PLAIN: Final = re.compile(rb"(?:[\x21-\x39\x3b-\x7e]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)+")


def part_at(root: Part, offset: int) -> str:
    """The number of the innermost part that an octet lies in."""
    part = root
    while True:
        below = next((child for child in part.children if child.start <= offset < child.end), None)
        if below is None:
            return part.number
        part = below


def normalize_line_ends(octets: bytes) -> tuple[bytes, tuple[Edit, ...]]:
    """Bare LF to CRLF, nothing else; never makes or moves an end of data, as that was found before."""
    places = [found.start() for _, found in zip(range(MAX_SINGLE_EDITS + 1), _BARE_LF.finditer(octets), strict=False)]
    if not places:
        return octets, ()
    converted = _BARE_LF.sub(b"\r\n", octets)
    rule, source = "bare-lf", "RFC 5321 §2.3.8"
    if len(places) <= MAX_SINGLE_EDITS:
        return converted, tuple(Edit(at, at + 1, b"\r\n", rule, source) for at in places)
    first, last = places[0], octets.rfind(b"\n") + 1
    tail = len(octets) - last
    return converted, (Edit(first, last, converted[first : len(converted) - tail], rule, source),)
