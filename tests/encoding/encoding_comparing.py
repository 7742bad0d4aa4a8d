"""Whether a conversion kept what a message says: trees, decoded bodies and header text of both sides."""

import re

from mailsandbox.encoding.classify import is_clean
from mailsandbox.message.addresses import ascii_domain
from mailsandbox.message.parameters import join_parameters, raw_parameters
from mailsandbox.message.spans import Part, scan, unfold
from mailsandbox.message.transfer import decode_transfer
from mailsandbox.message.words import ENCODED_WORD, decode_word

ADDED = {"mime-version", "content-type", "content-transfer-encoding", "x-mime-autoconverted"}


def differences(before: bytes, after: bytes) -> list[str]:
    """What a reader would find changed; empty if nothing."""
    found = []
    if not is_clean(after):
        found.append("the result is not clean")
    _compare(before, scan(before), after, scan(after), found)
    return found


def _compare(before: bytes, one: Part, after: bytes, other: Part, found: list[str]) -> None:
    where = one.number or "root"
    if len(one.children) != len(other.children) and not one.content_type.name.startswith("message/global"):
        found.append(f"{where}: {len(one.children)} parts became {len(other.children)}")
        return
    if one.content_type.name != other.content_type.name:
        found.append(f"{where}: {one.content_type.name} became {other.content_type.name}")
    _headers(before, one, after, other, found)
    if one.children and other.children:
        for child, its in zip(one.children, other.children, strict=True):
            _compare(before, child, after, its, found)
        return
    mine = decode_transfer(before[one.body.start : one.body.end], one.encoding)
    theirs = decode_transfer(after[other.body.start : other.body.end], other.encoding)
    if mine != theirs:
        found.append(f"{where}: decoded body differs: {mine[:60]!r} became {theirs[:60]!r}")


def _headers(before: bytes, one: Part, after: bytes, other: Part, found: list[str]) -> None:
    kept = [field for field in one.fields if field.key not in ADDED]
    theirs = [field for field in other.fields if field.key not in ADDED]
    if [field.key for field in kept] != [field.key for field in theirs]:
        found.append(f"{one.number or 'root'}: fields {[f.key for f in kept]} became {[f.key for f in theirs]}")
        return
    for mine, its in zip(kept, theirs, strict=True):
        if mine.key == "content-disposition" and b"=?" in before[mine.start : mine.end]:
            continue  # no encoded-word should be there, and readers differ in what they make of it
        if mine.key == "content-disposition":
            said, says = (
                {
                    name: _readable(value.encode())
                    for name, value in join_parameters(raw_parameters(octets[field.value_start : field.end])).items()
                }
                for octets, field in ((before, mine), (after, its))
            )
        else:
            said, says = _readable(unfold(before, mine)), _readable(unfold(after, its))
        if said != says:
            found.append(f"{mine.key}: {said!r} became {says!r}")


def _with_a_labels(value: bytes) -> bytes:
    """The one change that a conversion may make to an address (RFC 5891), made on both sides."""

    def converted(found: re.Match[bytes]) -> bytes:
        return (ascii_domain(found[0].decode("utf-8", "replace")) or "").encode() or found[0]

    return re.sub(rb"(?<=@)[^\s<>(),;:@\"\[]+", converted, value)


def _readable(value: bytes) -> str:
    """Octets with encoded-words decoded, whatever their charset, without blanks, quotes and backslashes; as Latin-1."""
    value = re.sub(rb"\?=[ \t]+=\?", b"?==?", value)
    value = _with_a_labels(ENCODED_WORD.sub(lambda word: decode_word(word[2], word[3]), value))
    return re.sub(r'[\s"\\\x00]+', "", value.decode("latin-1"))
