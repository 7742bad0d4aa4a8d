"""A page for people at /: the latest messages, the services, the routes. No script but the reload by the stream."""

import html
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.times import rfc3339
from mailsandbox.store.views import MessageQuery, StoredMessage

LATEST: Final = 50
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>mailsandbox</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #ddd }}
code {{ background: #f3f3f3; padding: 0 .2rem }}
</style>
<h1>mailsandbox</h1>
<h2>Latest messages</h2>
<table><tr><th>received<th>account<th>from<th>subject<th></tr>
{messages}
</table>
<h2>Services</h2>
<table>{services}</table>
<h2>Interface</h2>
<p><a href="/openapi.json">/openapi.json</a> lists every route; <a href="/v1/messages">/v1/messages</a>,
<a href="/v1/accounts">/v1/accounts</a>, <a href="/v1/sessions">/v1/sessions</a>, <a href="/v1/queue">/v1/queue</a>,
<a href="/metrics">/metrics</a>.</p>
"""


async def show_home(context: HttpContext, _: Request) -> Response:
    """GET /."""
    page = await context.store.list_messages(MessageQuery(limit=LATEST))
    rows = "\n".join(map(_row, page.messages)) or '<tr><td colspan="5">none yet</tr>'
    services = "\n".join(
        f"<tr><td>{html.escape(name)}<td><code>{html.escape(str(place))}</code></tr>"
        for name, place in context.services.items()
    )
    octets = _PAGE.format(messages=rows, services=services).encode("utf-8", "replace")
    return Response(
        octets,
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store",
        },
    )


def _row(stored: StoredMessage) -> str:
    url = f"/v1/messages/{stored.message_id}"
    links = " ".join(f'<a href="{url}{path}">{name}</a>' for path, name in _LINKS)
    when = rfc3339(stored.received_at)[:19].replace("T", " ")
    cells = (when, stored.account, stored.sender, stored.subject or "(no subject)")
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + f"<td>{links}</tr>"


_LINKS: Final = (("/text", "text"), ("/html", "html"), ("/raw", "raw"), ("", "json"), ("/journey", "journey"))
