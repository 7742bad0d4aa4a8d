"""HTTP: small requests a second, commit to push by model and subscribers, memory of idle streams, time to stop."""

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mailsandbox import Sandbox
from mailsandbox.lab.counting import Counters, Wire, split_address
from mailsandbox.lab.models.http import Exchange
from mailsandbox.lab.submission import submit
from mailsandbox.lab.watchers import watcher

ACCOUNT = "bench@beta.test"
LOG = f"/v1/accounts/{ACCOUNT}/changes"
PUSHES = ("long-poll", "sse", "websocket", "stream")


async def rate(
    address: str, path: str, *, connections: int, seconds: float, headers: Sequence[tuple[str, str]] = ()
) -> float:
    """Requests a second over so many keep-alive connections, one request under way on each.

    Written to the socket as they are: a client's own work would be measured instead of the server's.
    """
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n".encode()
    deadline = time.perf_counter() + seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection(*split_address(address))
        done = 0
        while time.perf_counter() < deadline:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if length:
                await reader.readexactly(int(length))
            done += 1
        writer.close()
        return done

    return sum(await asyncio.gather(*(ask() for _ in range(connections)))) / seconds


async def latency(services: dict[str, str], model: str, *, subscribers: int, messages: int) -> dict[str, float]:
    """Milliseconds from the commit until a subscriber heard: median and the slowest."""
    readers = [watcher(model, services, ACCOUNT) for _ in range(subscribers)]
    await asyncio.gather(*(reader.start() for reader in readers))
    heard: list[float] = []
    exchange = Exchange(services["http"], Counters())
    for number in range(messages):
        octets = b"Subject: n%d\r\n\r\n.\r\n" % number
        await submit(services["beta.smtp"], "a@alpha.test", [ACCOUNT], octets, body="")
        notices = await asyncio.gather(*(reader.next(10) for reader in readers))
        _, _, page = await exchange.get(f"{LOG}?since={max(notice.seq or 0 for notice in notices if notice) - 1}")
        committed = json.loads(page)["changes"][0]["committed_ns"]
        heard += [(notice.notified_ns - committed) / 1e6 for notice in notices if notice is not None]
    await exchange.aclose()
    await asyncio.gather(*(reader.aclose() for reader in readers))
    return {"p50_ms": statistics.median(heard), "max_ms": max(heard)}


async def idle_memory(address: str, streams: int) -> float:
    """KiB of this process (server and the bare sockets of its clients) for each idle event stream."""
    before = resident()
    links = [await Wire.open(address, Counters()) for _ in range(streams)]
    for link in links:
        await link.write(f"GET {LOG}/sse HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await link.line()
    grown = resident() - before
    await asyncio.gather(*(link.aclose() for link in links))
    return grown / streams


def resident() -> float:
    """KiB in memory now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1024


async def measure(seconds: float) -> dict[str, object]:
    """Everything, in one process: server and client share its core."""
    async with Sandbox() as box:
        services = {name: str(service) for name, service in box.services.items()}
        http = services["http"]
        await submit(services["beta.smtp"], "a@alpha.test", [ACCOUNT], b"Subject: x\r\n\r\n.\r\n", body="")
        newest = json.loads((await _get(http, LOG))[1])["cursor"]
        result: dict[str, object] = {
            "livez_per_second": await rate(http, "/livez", connections=10, seconds=seconds),
            "empty_poll_per_second": await rate(http, f"{LOG}?since={newest}", connections=10, seconds=seconds),
            "not_modified_per_second": await rate(
                http,
                f"{LOG}?since={newest}",
                connections=10,
                seconds=seconds,
                headers=[("If-None-Match", f'"{newest}"')],
            ),
            "list_of_one_per_second": await rate(http, "/v1/messages", connections=10, seconds=seconds),
        }
        for model in PUSHES:
            for subscribers in (1, 50):
                measured = await latency(services, model, subscribers=subscribers, messages=20)
                result[f"{model}_{subscribers}"] = measured
        result["kib_per_idle_stream"] = await idle_memory(http, 300)
        readers = [watcher(model, services, ACCOUNT) for model in PUSHES for _ in range(10)]
        await asyncio.gather(*(reader.start() for reader in readers))
        began = time.perf_counter()
    result["stop_ms_with_40_readers"] = (time.perf_counter() - began) * 1e3
    await asyncio.gather(*(reader.aclose() for reader in readers))
    return result


async def _get(address: str, path: str) -> tuple[int, bytes]:
    exchange = Exchange(address, Counters())
    status, _, octets = await exchange.get(path)
    await exchange.aclose()
    return status, octets


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench http_api", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    result = asyncio.run(measure(options.seconds))
    if options.json:
        print(json.dumps(result))
        return 0
    table = Table("what", "value")
    for name, value in result.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {number:.2f}" for key, number in value.items())
        else:
            shown = f"{value:.1f}"
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
