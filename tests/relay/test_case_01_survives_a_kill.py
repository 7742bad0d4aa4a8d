"""Case 1: kill -9 right after the 250.

The same with the whole daemon and a real client: tests/path/test_daemon.py, at known moments, and
tests/path/test_chaos.py, at random ones.
"""

import asyncio
import signal
import sys

import pytest
from rig import PLAIN

from mailsandbox.database.opening import open_database

ACCEPT_THEN_HANG = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from rig import Rig
from mailsandbox.database.opening import open_database

async def main():
    rig = Rig(database=open_database(sys.argv[1]))
    await rig.start()
    async def never(message, recipients):
        await asyncio.Event().wait()
    rig.courier.attempt = never          # the process dies before it has made an attempt
    await rig.enqueue("b@beta.test", queue_id="KILLED")
    print("250", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.rfc(5321, "6.1")
async def test_message_is_delivered_exactly_once_after_the_process_was_killed_behind_its_250(
    make_rig, make_hop, tmp_path, request
):
    data = str(tmp_path / "data")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ACCEPT_THEN_HANG, data, str(request.path.parent), stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"250\n"
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL

    hop = await make_hop()
    rig = await make_rig(database=open_database(data))
    rig.route("beta.test", hop)
    assert await rig.queue.count() == 1
    await rig.clock.advance(5 * 86_400)
    assert [got.octets for got in hop.messages] == [PLAIN]
    # Nobody can know that the dead process had not begun: its journey says so.
    assert [(one.number, one.possible_duplicate) for one in rig.attempts("KILLED")] == [(1, True), (2, False)]
    assert await rig.queue.count() == 0


async def test_attempt_cut_off_by_closing_is_made_again_after_the_restart(make_rig, make_hop, tmp_path):
    hop = await make_hop(script={".": ["HANG"]})
    data = str(tmp_path / "data")
    first = await make_rig(database=open_database(data))
    first.route("beta.test", hop)
    queue_id = await first.enqueue("b@beta.test")
    while "DATA" not in hop.lines:
        await asyncio.sleep(0)
    await first.aclose()
    second = await make_rig(database=open_database(data))
    second.route("beta.test", hop)
    await second.clock.advance(86_400)
    assert [got.connection for got in hop.messages] == [2]
    assert [(one.number, one.possible_duplicate) for one in first.attempts(queue_id)] == [(1, True)]
    assert [(one.number, one.possible_duplicate) for one in second.attempts(queue_id)] == [(2, False)]
