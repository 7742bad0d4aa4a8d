"""A man in the middle adds replies in clear text before the TLS handshake: they are not taken for the server's."""

import asyncio
import ssl

import pytest
import uvloop
from certificate_chains import issue, server_context
from rig import Rig

from mailsandbox.relay.tls import TlsPolicy


async def _serve(context: ssl.SSLContext, heard: list[str], reader, writer) -> None:
    writer.write(b"220 hop\r\n")
    await reader.readline()
    writer.write(b"250-hop\r\n250 STARTTLS\r\n")
    await reader.readline()
    # CVE-2011-0411 turned round: what follows the 220 in clear text must not be read as the answer to the next EHLO.
    writer.write(b"220 go\r\n250-hop\r\n250-DSN\r\n250 SIZE 1\r\n")
    await writer.drain()
    try:
        await writer.start_tls(context)
        while line := (await reader.readline()).decode().rstrip():
            heard.append(line)
            writer.write(b"250 hop\r\n")
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def _send(context: ssl.SSLContext, level: str) -> tuple[list[str], str]:
    heard: list[str] = []
    server = await asyncio.start_server(lambda r, w: _serve(context, heard, r, w), "127.0.0.1", 0)
    rig = await Rig(tls=TlsPolicy(level)).start()

    class Hop:
        port = server.sockets[0].getsockname()[1]

    try:
        rig.route("beta.test", Hop, tls=level)
        queue_id = await rig.send("b@beta.test", envid="E1")
        return heard, " ".join(rig.attempts(queue_id)[0].offers)
    finally:
        await rig.aclose()
        server.close()


@pytest.mark.rfc(3207, "4.2")
@pytest.mark.parametrize("level", ["opportunistic", "required"])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_replies_from_before_tls_are_not_believed(tmp_path, run, level):
    context = server_context(tmp_path, [issue("hop", names=["hop.test"])])
    heard, offers = run(_send(context, level))
    assert "DSN" not in offers
    assert "SIZE" not in offers
    assert not any("ENVID" in line or "SIZE" in line for line in heard)
