"""Every connection of SMTP, POP3 and IMAP with its transcript, refused and broken ones too."""

import itertools
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.access.http.times import rfc3339
from mailsandbox.access.http.typed import Json, query
from mailsandbox.journey.sessions import OUTCOMES, SessionRecord
from mailsandbox.store.credentials import canonical

PROTOCOLS: Final = ("smtp", "lmtp", "relay", "pop3", "imap")


class SessionsQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Exact values; `protocol`: smtp, lmtp, relay, pop3, imap; `outcome`: open, closed, rejected, aborted ...

    `finding`: sessions whose client broke this rule; "any": any rule.
    """

    protocol: str = ""
    account: str = ""
    outcome: str = ""
    service: str = ""
    finding: str = ""
    limit: shapes.Limit = 100


async def list_sessions(context: HttpContext, request: Request) -> Response:
    """GET /v1/sessions."""
    wanted = query(request, SessionsQuery)
    for name, value, known in (("protocol", wanted.protocol, PROTOCOLS), ("outcome", wanted.outcome, OUTCOMES)):
        if value not in ("", *known):
            raise invalid(f"{name}: {value!r} is not one of {', '.join(known)}", where=f"?{name}")
    fitting = (
        _summary(record)
        for record in context.sessions
        if wanted.protocol in ("", record.protocol)
        and wanted.outcome in ("", record.outcome)
        and wanted.service in ("", record.service)
        and (not wanted.account or canonical(wanted.account) == canonical(record.account))
        and _has(record, wanted.finding)
    )
    return Json(shapes.Sessions(list(itertools.islice(fitting, wanted.limit))))


async def show_session(context: HttpContext, request: Request) -> Response:
    """GET /v1/sessions/{id}."""
    record = context.sessions.get(request.path_params["id"])
    if record is None:
        raise Problem(404, f"no session has the id {request.path_params['id']!r}, or no longer", "no-such-session")
    summary = _summary(record)
    return Json(
        shapes.SessionView(
            **{name: getattr(summary, name) for name in summary.__struct_fields__},
            findings=record.findings,
            transcript=record.transcript,
        )
    )


def _has(record: SessionRecord, finding: str) -> bool:
    match finding:
        case "":
            return True
        case "any":
            return bool(record.findings)
        case rule:
            return any(one.rule == rule for one in record.findings)


def _summary(record: SessionRecord) -> shapes.SessionSummary:
    return shapes.SessionSummary(
        id=record.id,
        protocol=record.protocol,
        service=record.service,
        peer=record.peer,
        local=record.local,
        started_at=rfc3339(record.started_at),
        ended_at=None if record.ended_at is None else rfc3339(record.ended_at),
        outcome=record.outcome,
        account=record.account,
        tls=record.tls,
        helo=record.helo,
        rules=list(dict.fromkeys(one.rule for one in record.findings)),
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/sessions", list_sessions, "Connections, newest first", query=SessionsQuery, gives=shapes.Sessions
    ),
    Endpoint(
        "GET",
        "/v1/sessions/{id}",
        show_session,
        "One connection with its transcript",
        gives=shapes.SessionView,
        also=(404,),
    ),
)
