"""The levers of a test: the manual clock, scripted faults, reset."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.accounts import existing
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import Problem, invalid
from mailsandbox.access.http.times import rfc3339, seconds
from mailsandbox.access.http.typed import Json, body
from mailsandbox.clock import Clock, ManualClock
from mailsandbox.faults import Delay, Drop, Fault, Respond, action_of


async def show_clock(context: HttpContext, _: Request) -> Response:
    """GET /v1/clock."""
    return Json(_clock_view(context.clock))


async def advance_clock(context: HttpContext, request: Request) -> Response:
    """POST /v1/clock/advance: answers when everything that became due has been done."""
    wanted = await body(request, shapes.Advance, limit=context.options.max_body)
    if not isinstance(context.clock, ManualClock):
        raise Problem(
            409,
            "the daemon runs on the system's time, which nobody advances: start it with"
            ' mode = "manual" under [clock], or with MAILSANDBOX_CLOCK_MODE=manual',
            "no-manual-clock",
        )
    match wanted.seconds, wanted.by:
        case float() as step, None:
            pass
        case None, str() as period:
            step = seconds(period, where="/by")
        case _:
            raise invalid('give seconds (a number) or by ("90s", "5m", "4h", "2d")', where="/seconds")
    if not 0 <= step <= 3.2e9:  # a hundred years
        raise invalid(f"the clock cannot go on by {step} seconds", where="/seconds")
    await context.clock.advance(step)
    return Json(_clock_view(context.clock))


def _clock_view(clock: Clock) -> shapes.ClockView:
    mode = "manual" if isinstance(clock, ManualClock) else "system"
    return shapes.ClockView(mode=mode, now=rfc3339(clock.now()), timestamp=clock.now())


async def list_faults(context: HttpContext, _: Request) -> Response:
    """GET /v1/faults."""
    return Json(shapes.FaultList([_fault_view(fault) for fault in context.faults]))


async def add_fault(context: HttpContext, request: Request) -> Response:
    """POST /v1/faults."""
    wanted = await body(request, shapes.NewFault, limit=context.options.max_body)
    if wanted.site and context.queues and wanted.site not in context.queues:
        raise invalid(f"there is no site {wanted.site!r}; there are {', '.join(context.queues)}", where="/site")
    fault = Fault(
        action_of(reply=wanted.reply, drop=wanted.drop, reset=wanted.reset, delay=wanted.delay),
        protocol=wanted.protocol,
        site=wanted.site,
        stage=wanted.stage,
        account=wanted.account,
        text=wanted.text,
        times=wanted.times,
        skip=wanted.skip,
    )
    return Json(_fault_view(context.faults.add(fault)), 201)


async def remove_faults(context: HttpContext, request: Request) -> Response:
    """DELETE /v1/faults: all of them, or the one of ?id=."""
    wanted = request.query_params.get("id", "")
    if not wanted:
        context.faults.clear()
    elif not context.faults.remove(wanted):
        raise Problem(404, f"no fault has the id {wanted!r}", "no-such-fault")
    return Response(status_code=204)


def _fault_view(fault: Fault) -> shapes.FaultView:
    view = shapes.FaultView(
        id=fault.id,
        hits=fault.hits,
        protocol=fault.protocol,
        site=fault.site,
        stage=fault.stage,
        account=fault.account,
        text=fault.text,
        times=fault.times,
        skip=fault.skip,
    )
    match fault.action:
        case Respond(code, text, enhanced):
            view.reply = " ".join(filter(None, (str(code), enhanced, text)))
        case Drop(reset):
            view.drop, view.reset = not reset, reset
        case Delay(delay):
            view.delay = delay
    return view


async def reset(context: HttpContext, request: Request) -> Response:
    """POST /v1/reset. Without a body, or with {}: everything."""
    wanted = await body(request, shapes.Reset, limit=context.options.max_body)
    if wanted.account and wanted.namespace:
        raise invalid("give account or namespace, not both", where="/namespace")
    if wanted.account:
        await context.reset(await existing(context, wanted.account))
    elif wanted.namespace:
        for address in in_namespace(await context.store.accounts(), wanted.namespace):
            await context.reset(address)
    else:
        await context.reset(None)
    return Response(status_code=204)


def in_namespace(addresses: Iterable[str], namespace: str) -> list[str]:
    """Accounts of a namespace: `anything+NAMESPACE@domain`, or any address below the domain NAMESPACE."""
    wanted = namespace.lower()
    found: list[str] = []
    for address in addresses:
        local, _, domain = address.rpartition("@")
        if local.partition("+")[2] == wanted or domain == wanted or domain.endswith(f".{wanted}"):
            found.append(address)
    return found


ENDPOINTS = (
    Endpoint("GET", "/v1/clock", show_clock, "The sandbox's time", gives=shapes.ClockView),
    Endpoint(
        "POST",
        "/v1/clock/advance",
        advance_clock,
        "Advance the manual clock; what becomes due is done before the answer",
        takes=(shapes.Advance,),
        gives=shapes.ClockView,
        also=(409,),
    ),
    Endpoint("GET", "/v1/faults", list_faults, "Scripted faults, with hit counters", gives=shapes.FaultList),
    Endpoint(
        "POST",
        "/v1/faults",
        add_fault,
        "Script a fault",
        takes=(shapes.NewFault,),
        gives=shapes.FaultView,
        status=201,
    ),
    Endpoint(
        "DELETE", "/v1/faults", remove_faults, "Take back all faults, or the one of ?id=", status=204, also=(404,)
    ),
    Endpoint("POST", "/v1/reset", reset, "Empty one account, one namespace, or all", takes=(shapes.Reset,), status=204),
)
