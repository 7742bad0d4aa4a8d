"""[relay] concurrency is what the queues of the sites go by."""

import asyncio

import pytest

from mailsandbox import Sandbox
from mailsandbox.config import parse


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_attempts_run_at_once_than_configured(make_hop, concurrency):
    hop = await make_hop(gate=asyncio.Event())
    config = f"""
        [relay]
        concurrency = {concurrency}
        [[routes]]
        domain = "gamma.test"
        host = "127.0.0.1"
        port = {hop.port}
    """
    async with Sandbox(parse(config)) as box:
        for number in range(6):
            await box.send(f"{number}@gamma.test", sender="a@alpha.test", subject="x", text="x")
        while hop.open_now < concurrency:
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        hop.gate.set()
        while len(hop.messages) < 6:
            await asyncio.sleep(0)
    assert hop.most_open == concurrency
