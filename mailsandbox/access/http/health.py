"""/livez, /readyz, /v1/services and /metrics (Prometheus text format 0.0.4)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem
from mailsandbox.access.http.release import version
from mailsandbox.access.http.typed import Json
from mailsandbox.errors import MailsandboxError

TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Mapping[str, str], float]]


async def livez(_: HttpContext, __: Request) -> Response:
    """The loop turns."""
    return Json(shapes.Status("ok"))


async def readyz(context: HttpContext, _: Request) -> Response:
    """Every service listens and the database answers."""
    if not context.ready():
        raise Problem(503, "not every service listens yet", "not-ready", headers={"Retry-After": "1"})
    try:
        await context.store.accounts()
    except MailsandboxError as error:
        raise Problem(503, f"the store does not answer: {error}", "not-ready", headers={"Retry-After": "1"}) from None
    return Json(shapes.Status("ready"))


async def services(context: HttpContext, _: Request) -> Response:
    """GET /v1/services: whoever knows the URL only finds the other protocols' ports."""
    return Json(shapes.Services(dict(context.services)))


async def metrics(context: HttpContext, _: Request) -> Response:
    """GET /metrics."""
    requests = context.counts.requests
    sessions = Counter((record.protocol, record.outcome) for record in context.sessions if record.ended_at is None)
    queued = {site: len(await queue.items()) for site, queue in context.queues.items()}
    lines = [
        *_family("build_info", "gauge", "What runs here.", [({"version": version()}, 1)]),
        *_family(
            "http_requests_total",
            "counter",
            "Answers of the HTTP interface.",
            [({"method": m, "route": r, "status": str(s)}, n) for (m, r, s), n in sorted(requests.items())],
        ),
        *_family(
            "http_readers",
            "gauge",
            "Readers of a log of changes that stay connected, by model.",
            [({"model": model}, number) for model, number in sorted(context.counts.readers.items())],
        ),
        *_family(
            "sessions_open",
            "gauge",
            "Open connections of SMTP, POP3, IMAP.",
            [({"protocol": protocol}, number) for (protocol, _), number in sorted(sessions.items())],
        ),
        *_family(
            "queue_messages", "gauge", "Messages that wait.", [({"site": s}, n) for s, n in sorted(queued.items())]
        ),
        *_family("accounts", "gauge", "Accounts.", [({}, len(await context.store.accounts()))]),
        *_family(
            "fault_hits_total",
            "counter",
            "How often a scripted fault struck.",
            [({"id": fault.id, "protocol": fault.protocol}, fault.hits) for fault in context.faults],
        ),
    ]
    return Response("\n".join(lines) + "\n", headers={"Content-Type": TEXT_FORMAT, "Cache-Control": "no-store"})


def _family(name: str, kind: str, description: str, samples: Samples) -> list[str]:
    name = f"mailsandbox_{name}"
    rows = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        rows.append(f"{name}{{{pairs}}} {value:g}" if pairs else f"{name} {value:g}")
    return rows


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


ENDPOINTS = (
    Endpoint("GET", "/livez", livez, "The process lives", gives=shapes.Status),
    Endpoint("GET", "/readyz", readyz, "It can be used", gives=shapes.Status, also=(503,)),
    Endpoint("GET", "/v1/services", services, "Where every service listens", gives=shapes.Services),
    Endpoint("GET", "/metrics", metrics, "Numbers for Prometheus", gives="text/plain"),
)
