"""What may lie between the socket and a protocol: TLS, and DEFLATE compression. Octets in, octets out.

Invariant: `read` never returns more than PIECE octets, however much one received octet expands to, so a peer cannot
make the server hold more than it asked for. Knows no socket and no event loop.
"""

import ssl
import zlib
from typing import Final, Protocol

PIECE: Final = 65_536  # octets handed up at once
_MAX_EARLY: Final = 1_048_576  # octets a protocol may write before the TLS handshake has ended


class Layer(Protocol):
    """One transformation. The transport feeds, reads until b"" comes, and sends what is `pending` after each call."""

    def feed(self, octets: bytes) -> None:
        """Octets from the wire's side."""
        ...

    def read(self) -> bytes:
        """The next octets for the protocol's side, at most PIECE; b"" where there are none yet."""
        ...

    def send(self, octets: bytes | memoryview) -> None:
        """Octets from the protocol's side."""
        ...

    def pending(self) -> bytes:
        """Takes what is to go to the wire's side now."""
        ...

    def close(self) -> None:
        """The protocol says no more: what the layer must still say is pending afterwards."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the peer ended the layer in order."""
        ...


class TlsFailed(Exception):
    """The TLS connection cannot be made or went wrong; the text says why in words a tester understands."""


_REASONS: Final = {
    "HTTP_REQUEST": "the client spoke HTTP, not TLS, to a TLS port",
    "WRONG_VERSION_NUMBER": "the client did not speak TLS",
    "UNKNOWN_PROTOCOL": "the client did not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the client offers only TLS versions that are too old (RFC 8996)",
    "NO_SHARED_CIPHER": "client and server have no cipher in common",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the server's certificate: its authority is unknown to it",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept the server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept the server's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the server's certificate has expired",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the client does not accept this version of TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the client hung up in the middle of TLS",
}


class TlsLayer:
    """The server's side of TLS (RFC 8446, RFC 5246) over memory buffers. Raises TlsFailed from any method."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._early: list[bytes] = []
        self.established = False
        self.ended = False

    @property
    def version(self) -> str:
        """Version and cipher, as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" before the handshake has ended."""
        cipher = self._tls.cipher() if self.established else None
        return f"{self._tls.version()} {cipher[0]}" if cipher else ""

    def feed(self, octets: bytes) -> None:
        self._incoming.write(octets)
        if not self.established:
            self._handshake()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise TlsFailed(_explain(error)) from None
        self.established = True
        early, self._early = self._early, []
        for octets in early:
            self.send(octets)

    def read(self) -> bytes:
        if not self.established or self.ended:
            return b""
        try:
            octets = self._tls.read(PIECE)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            self.ended = True
            return b""
        except ssl.SSLError as error:
            raise TlsFailed(_explain(error)) from None
        if not octets:  # close_notify, where the context suppresses SSLZeroReturnError
            self.ended = True
        return octets

    def send(self, octets: bytes | memoryview) -> None:
        if not self.established:
            if sum(map(len, self._early)) + len(octets) > _MAX_EARLY:
                raise TlsFailed("too much to say before the TLS handshake has ended")
            self._early.append(bytes(octets))
            return
        try:
            # A memory buffer takes everything at once; pieces keep OpenSSL's own copies small.
            for start in range(0, len(octets), 4 * PIECE):
                self._tls.write(memoryview(octets)[start : start + 4 * PIECE])
        except ssl.SSLError as error:
            raise TlsFailed(_explain(error)) from None

    def pending(self) -> bytes:
        return self._outgoing.read()

    def close(self) -> None:
        if not self.established:
            return
        try:
            self._tls.unwrap()  # RFC 8446 §6.1: close_notify before the connection is closed
        except ssl.SSLError:
            pass  # the peer's own close_notify has not come, and need not


def _explain(error: ssl.SSLError) -> str:
    return _REASONS.get(error.reason or "", f"TLS: {error.reason or error}")


class DeflateLayer:
    """COMPRESS=DEFLATE (RFC 4978): raw deflate both ways, flushed whenever something is sent."""

    def __init__(self, *, level: int = 6) -> None:
        # RFC 4978 §4: the window is 15 bits, without zlib's header. memLevel 5 halves the memory for 2 % of size.
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 5)
        self._inflate = zlib.decompressobj(-15)
        self._input = b""
        self._output: list[bytes] = []
        self._closed = False
        self.ended = False

    def feed(self, octets: bytes) -> None:
        self._input += octets

    def read(self) -> bytes:
        """Raises zlib.error where the peer's octets are not deflated."""
        if self.ended:
            return b""
        octets = self._inflate.decompress(self._input, PIECE)
        self._input = self._inflate.unconsumed_tail
        if self._inflate.eof:
            self.ended = True
        return octets

    def send(self, octets: bytes | memoryview) -> None:
        self._output.append(self._deflate.compress(octets))

    def pending(self) -> bytes:
        if not self._output:
            return b""
        if not self._closed:
            self._output.append(self._deflate.flush(zlib.Z_SYNC_FLUSH))
        octets = b"".join(self._output)
        self._output.clear()
        return octets

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._output.append(self._deflate.flush(zlib.Z_FINISH))
