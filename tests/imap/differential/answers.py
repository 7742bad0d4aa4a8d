"""What an IMAP answer means, apart from how it is spelled: so that two servers' answers can be compared.

Left out, as it may differ: texts for humans, values that a server chooses (UIDVALIDITY, mod-sequences), the order of
untagged responses and of attributes within one, quoted string or literal or atom.
"""

import re
from typing import Any

_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ATOM = re.compile(rb"[^\s()\"{\[]*(?:\[[^\]]*\](?:<\d+>)?)?[^\s()\"{]*")
_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: \[([^\]]*)\])?", re.IGNORECASE)
_CHOSEN = re.compile(rb"(UIDVALIDITY|HIGHESTMODSEQ|MODSEQ|NOMODSEQ|APPENDLIMIT)( \(?\d+\)?)", re.IGNORECASE)
# Codes whose first number is a UIDVALIDITY (RFC 4315 §3).
_UIDPLUS = re.compile(rb"(APPENDUID|COPYUID) \d+", re.IGNORECASE)
_UNCOMPARED = (b"CAPABILITY", b"ID", b"RECENT")
# Codes of extensions that Dovecot has not; what it says of commands that it finds unwise; RFC 7162 §3.1.2.1 wants
# HIGHESTMODSEQ of every SELECT, Dovecot tells those who have asked.
_UNCOMPARED_CODES = (b"MAILBOXID", b"CLIENTBUG", b"HIGHESTMODSEQ")

Meaning = list[Any]  # of nested lists, octets and numbers


def tokens(octets: bytes) -> Meaning:
    """One response as nested lists; strings without their quotes."""
    stack: list[Meaning] = [[]]
    at = 0
    while at < len(octets):
        octet = octets[at : at + 1]
        if octet in b" \r\n":
            at += 1
        elif octet == b"(":
            stack.append([])
            at += 1
        elif octet == b")" and len(stack) > 1:
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif found := _LITERAL.match(octets, at):
            at = found.end() + int(found[1])
            stack[-1].append(octets[found.end() : at])
        elif found := _QUOTED.match(octets, at):
            at = found.end()
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found[1]))
        else:
            found = _ATOM.match(octets, at)
            at = max(found.end() if found else at, at + 1)
            stack[-1].append(_atom(found[0] if found and found[0] else octet))
    return stack[0]


def _atom(octets: bytes) -> bytes | None:
    return None if octets.upper() == b"NIL" else octets


def pairs(items: Meaning) -> Meaning:
    """Name and value in turns, as a sorted list of pairs."""
    names = [name.upper().replace(b'"', b"") if isinstance(name, bytes) else name for name in items[::2]]
    values = items[1::2]
    for number, (name, value) in enumerate(zip(names, values, strict=False)):
        if name == b"FLAGS":
            values[number] = _flags(value)
        elif name == b"INTERNALDATE":
            values[number] = value.strip().removeprefix(b"0")
    return sorted(([name, value] for name, value in zip(names, values, strict=False)), key=repr)


def _flags(words: Meaning) -> Meaning:
    # A keyword may be called NIL.
    return sorted((word or b"NIL") for word in words if word is None or word.upper() != b"\\RECENT")


def code(octets: bytes | None) -> Meaning:
    """A response code."""
    if not octets:
        return []
    octets = _CHOSEN.sub(rb"\1", _UIDPLUS.sub(rb"\1", octets))
    found = tokens(octets)
    found[0] = found[0].upper()
    if found[0] in _UNCOMPARED_CODES:
        return []
    if found[0] == b"CAPABILITY":
        return found[:1]
    if found[0] in (b"PERMANENTFLAGS", b"BADCHARSET"):
        return [found[0], *(_flags(found[1]) if found[0] == b"PERMANENTFLAGS" else [])]
    return found


def untagged(octets: bytes) -> Meaning | None:
    """An untagged response; None where it is not compared."""
    body = octets[2:]
    status = _STATUS.match(body)
    if status is not None:
        said = code(status[2])
        # What an untagged OK without a code says is for humans.
        return [status[1].upper(), *said] if said or status[1].upper() == b"BYE" else None
    found = tokens(body)
    number = []
    if found and isinstance(found[0], bytes) and found[0].isdigit():
        number, found = [int(found[0])], found[1:]
    name = found[0].upper() if found and isinstance(found[0], bytes) else b""
    if name in _UNCOMPARED:
        return None
    return [name, *number, *_arguments(name, found[1:])]


def _arguments(name: bytes, found: Meaning) -> Meaning:
    match name:
        case b"FETCH":
            return [["MODSEQ"] if pair[0] == b"MODSEQ" else pair for pair in pairs(found[0])]
        case b"FLAGS":
            return _flags(found[0])
        case b"LIST" | b"LSUB":
            return [_attributes(found[0]), *found[1:]]
        case b"STATUS":
            chosen = (b"UIDVALIDITY", b"HIGHESTMODSEQ")
            return [found[0], *([pair[0]] if pair[0] in chosen else pair for pair in pairs(found[1]))]
        case b"ESEARCH":
            correlator = [each for each in found if isinstance(each, list)]
            rest = [each for each in found if not isinstance(each, list)]
            uid = [each for each in rest if each == b"UID"]
            return [bool(correlator), bool(uid), *_without_mod_seq(pairs(rest[len(uid) :]))]
        case b"METADATA" if isinstance(found[-1], list):
            return [found[0], pairs(found[-1])]
        case b"SEARCH" | b"SORT":
            return [["MODSEQ"] if isinstance(each, list) else int(each) for each in found]
        case _:
            return found


def _attributes(words: Meaning) -> Meaning:
    """\\NonExistent implies \\Noselect (RFC 5258 §3); \\Marked and \\Unmarked are guesses."""
    names = {word.lower() for word in words if word} - {b"\\marked", b"\\unmarked"}
    if names & {b"\\noselect", b"\\nonexistent"}:
        names = names - {b"\\noselect", b"\\nonexistent"} | {b"no mailbox"}
    return sorted(names)


def _without_mod_seq(found: Meaning) -> Meaning:
    return [pair[:1] if pair[0] == b"MODSEQ" else pair for pair in found]


def tagged(octets: bytes) -> Meaning:
    """The tagged answer."""
    status = _STATUS.match(octets.partition(b" ")[2])
    assert status, octets
    return [status[1].upper(), *code(status[2])]


def meaning(responses: list[bytes], command: str = "") -> Meaning:
    """All that came for one command: what is untagged in any order, then the tagged answer."""
    if not responses or not responses[-1]:
        return ["the connection was closed", *sorted((untagged(each) for each in responses[:-1]), key=repr)]
    told = [said for each in responses[:-1] if each[:2] == b"* " and (said := untagged(each)) is not None]
    _renumber([said for said in told if said[0] == b"EXPUNGE"])
    if command.upper().startswith("LIST") and ("RETURN" in command or "(" in command) and "CHILDREN" not in command:
        # RFC 5258 §4: these attributes may be given unasked.
        for said in told:
            if said[0] == b"LIST":
                said[1] = [name for name in said[1] if name not in (b"\\haschildren", b"\\hasnochildren")]
    last = responses[-1]
    return [*sorted(told, key=repr), tagged(last)]


def alike(theirs: Meaning, ours: Meaning) -> bool:
    """Whether the answers mean the same; we may give a refusal a response code where they give none."""
    if theirs[-1:] == [[b"NO"]] and ours and ours[-1][0] == b"NO":
        ours = [*ours[:-1], [b"NO"]]
    return theirs == ours


def _renumber(expunges: list[Meaning]) -> None:
    """Whatever the order in which they are told: the numbers as they were before the first."""
    gone: list[int] = []
    for said in expunges:
        number = said[1]
        for before in sorted(gone):
            number += before <= number
        gone.append(number)
        said[1] = number
