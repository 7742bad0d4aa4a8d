"""Every refusal as a problem document (RFC 9457), and the one table that maps the errors of lower layers to them."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from mailsandbox import errors

MEDIA_TYPE: Final = "application/problem+json"  # RFC 9457 §6.1

_ENCODER: Final = msgspec.json.Encoder()


@dataclass(slots=True)
class Problem(Exception):
    """Raised by a route to answer with a problem document.

    `slug` ends the type URI: a tag URI, as there is no page to resolve to (RFC 9457 §3.1.1 allows that). "" stands for
    "about:blank": the status says it all. `extra` holds extension members (§3.2).
    """

    status: int
    detail: str
    slug: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """The members in the order of RFC 9457 §3.1."""
        phrase = HTTPStatus(self.status).phrase
        if not self.slug:
            kind: dict[str, object] = {"type": "about:blank", "title": phrase}
        else:
            title = self.slug.replace("-", " ")
            kind = {"type": f"tag:mailsandbox,2026:{self.slug}", "title": title[0].upper() + title[1:]}
        return kind | {"status": self.status, "detail": self.detail} | self.extra

    def response(self) -> Response:
        """The answer on the wire."""
        return Response(
            _ENCODER.encode(self.document()), self.status, media_type=MEDIA_TYPE, headers=self.headers or None
        )


# The more special class comes first where one is the base of the other.
_TABLE: Final[tuple[tuple[type[errors.MailsandboxError], int, str], ...]] = (
    (errors.NoSuchAccount, 404, "no-such-account"),
    (errors.NoSuchMailbox, 404, "no-such-mailbox"),
    (errors.NoSuchMessage, 404, "no-such-message"),
    (errors.NoSuchQueueItem, 404, "no-such-queue-item"),
    (errors.MailboxExists, 409, "mailbox-exists"),
    (errors.MaildropInUse, 409, "maildrop-in-use"),
    (errors.Conflict, 409, "conflict"),
    (errors.BadMailboxName, 422, "bad-mailbox-name"),
    (errors.BadArchive, 422, "bad-archive"),
    (errors.TooLarge, 413, "too-large"),
    (errors.OverQuota, 507, "over-quota"),
    (errors.StoreFull, 507, "store-full"),
    (errors.StoreUnavailable, 503, "store-unavailable"),
    (errors.ConfigError, 422, "wrong-value"),
    (errors.QueueError, 409, "queue-refused"),
    (errors.PeerViolation, 400, "bad-request"),
    (errors.MailsandboxError, 500, ""),
)

_RETRY_AFTER: Final = {503: "1", 507: "60"}  # seconds, RFC 9110 §10.2.3


def problem_of(error: Exception) -> Problem:
    """What an exception that reached the rim is called in HTTP. A bug of ours is a 500 that gives nothing away."""
    match error:
        case Problem():
            return error
        case HTTPException():
            detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
            return Problem(
                error.status_code, detail or _DETAILS.get(error.status_code, ""), headers=dict(error.headers or {})
            )
        case errors.MailsandboxError():
            for kind, status, slug in _TABLE:
                if isinstance(error, kind):
                    detail = str(error) or (kind.__doc__ or "")
                    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else {}
                    return Problem(status, detail, slug, headers=headers)
    return Problem(500, "a defect in mailsandbox; its log has the traceback")


_DETAILS: Final = {
    404: "there is nothing at this path; /openapi.json lists what there is",
    405: "this path does not take that method; the Allow field lists those it takes",  # RFC 9110 §15.5.6
}


async def refuse(_: HTTPConnection, error: Exception) -> Response:
    """Starlette's exception handler for everything above."""
    return problem_of(error).response()


def invalid(detail: str, *, where: str = "") -> Problem:
    """422: understood, but not processable (RFC 9110 §15.5.21). `where` is a JSON pointer or "?parameter"."""
    extra: dict[str, object] = {"errors": [{"where": where, "detail": detail}]} if where else {}
    return Problem(422, detail, "wrong-value", extra)
