"""What a test sees of mail: a stored message, its parts ready to assert on. The email package serves display only."""

import email
import email.message
import email.policy
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment, decoded."""

    filename: str
    content_type: str
    octets: bytes


@dataclass(frozen=True)
class Message:
    """One message in a mailbox.

    `id` is the /v1 id, `octets` the message exactly as stored, `received_at` POSIX seconds. Texts are decoded.
    """

    id: str
    account: str
    mailbox: str
    uid: int
    subject: str
    sender: str
    to: str
    flags: frozenset[str]
    received_at: float
    journey_id: str
    octets: bytes

    def __repr__(self) -> str:
        return f"Message({self.id!r}, to {self.account}, subject {self.subject!r})"

    @cached_property
    def email(self) -> email.message.EmailMessage:
        """The message parsed by the standard library."""
        return email.message_from_bytes(self.octets, policy=email.policy.default)

    @cached_property
    def text(self) -> str:
        """The plain text body, decoded; "" where there is none."""
        return self._body("plain")

    @cached_property
    def html(self) -> str:
        """The HTML body, decoded; "" where there is none."""
        return self._body("html")

    @cached_property
    def attachments(self) -> list[Attachment]:
        """Every part that is not a body: attachments and inline images."""
        bodies = {id(self.email.get_body((kind,))) for kind in ("plain", "html")}
        return [
            Attachment(
                part.get_filename() or "",
                part.get_content_type(),
                _octets(part),
            )
            for part in self.email.walk()
            if not part.is_multipart() and id(part) not in bodies
        ]

    def header(self, name: str) -> str:
        """A header field's value, decoded; "" where there is none."""
        return str(self.email.get(name, ""))

    def _body(self, kind: str) -> str:
        part = self.email.get_body((kind,))
        if part is None:
            return ""
        charset = part.get_content_charset("utf-8")
        try:
            return _octets(part).decode(charset, "replace").replace("\r\n", "\n")
        except LookupError:  # a charset nobody knows
            return _octets(part).decode("latin-1").replace("\r\n", "\n")


def _octets(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
