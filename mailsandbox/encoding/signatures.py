"""DKIM (RFC 6376): does a message verify, and signing what a conversion made. By dkimpy, an optional extra.

Invariant: keys come from the function that is handed in; nothing is ever asked of the network. dkimpy is imported when
first needed, and its absence is an answer ("none"), not an error, for verification.
"""

import importlib.util
from collections.abc import Callable, Mapping

from mailsandbox.encoding.verdicts import DkimKey

TxtLookup = Callable[[str], bytes | None]  # "selector._domainkey.example.org" -> the TXT record, None if there is none


def available() -> bool:
    """Whether the extra `dkim` is installed."""
    return importlib.util.find_spec("dkim") is not None


def records(entries: Mapping[str, str]) -> TxtLookup:
    """A lookup over given records; names compare without case and final dot."""
    table = {name.rstrip(".").lower(): value.encode() for name, value in entries.items()}
    return lambda name: table.get(name.rstrip(".").lower())


def verifier(lookup: TxtLookup) -> Callable[[bytes], str]:
    """A function for RelayPolicy.verify: "none" without signature (or dkimpy), "pass" if any verifies, else "fail"."""

    def answer(name: bytes | str, timeout: int = 5) -> bytes | None:
        return lookup(name.decode("ascii", "replace") if isinstance(name, bytes) else name)

    def verify(octets: bytes) -> str:
        count = _signatures(octets)
        if not count or not available():
            return "none"
        import dkim

        checked = dkim.DKIM(octets)
        for index in range(count):
            try:
                if checked.verify(idx=index, dnsfunc=answer):
                    return "pass"
            except Exception:  # dkimpy raises whatever a malformed signature or key makes it raise
                continue
        return "fail"

    return verify


def _signatures(octets: bytes) -> int:
    header = octets.partition(b"\r\n\r\n")[0].lower()
    return header.startswith(b"dkim-signature:") + header.count(b"\ndkim-signature:")


def sign(octets: bytes, key: DkimKey) -> bytes:
    """The DKIM-Signature field for a message, with its CRLF. Raises RuntimeError where dkimpy is not installed."""
    if not available():
        raise RuntimeError("signing needs the extra: pip install mailsandbox[dkim]")
    import dkim

    signed: bytes = dkim.sign(
        octets,
        key.selector.encode(),
        key.domain.encode(),
        key.private_key,
        identity=key.identity.encode() or None,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id", b"content-type", b"mime-version"],
    )
    return signed
