"""The pieces of the server by themselves: memory bound, greylist, networks, coroutines stepped at once, hand-over."""

import asyncio
import gc

import pytest

from mailsandbox.errors import StoreFull
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.smtp.extensions import Offers
from mailsandbox.smtp.replies import reply
from mailsandbox.submit.eager import start, within_task
from mailsandbox.submit.greylist import FORGET_AFTER, Greylist
from mailsandbox.submit.handover import hand_over
from mailsandbox.submit.model import Kind, ListenerSpec, SubmitContext
from mailsandbox.submit.peers import Networks
from mailsandbox.submit.spool import BLOCK, KEPT, SMALL, Memory, Spool

# -- spool -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [0, 10, 2 * BLOCK, 10**9])
@pytest.mark.parametrize(
    "sizes", [[1] * 3000, [BLOCK] * 3, [100, BLOCK - 100, 1], [100, BLOCK, 1, 200_000, 7], [0, 5], [5, 0]]
)
def test_a_spool_gives_back_what_it_was_given_on_disk_or_not(held, sizes):
    memory = Memory(held=held)
    spool = Spool(memory, limit=10**9)
    pieces = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    for piece in pieces:
        spool.append(piece)
        assert memory.held <= held
    assert spool.size == sum(sizes)
    whole = b"".join(pieces)
    in_memory = memory.held > 0
    assert spool.holds(whole) is in_memory  # to look into a file would take as long as reading it
    for at in (0, len(whole) // 2, len(whole) - 1):
        assert not spool.holds(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert not spool.holds(whole + b"x")
    assert not spool.holds(whole[:-1])
    assert spool.whole() == whole
    assert memory.held == 0


@pytest.mark.parametrize("held", [0, 10**9])
def test_too_large_a_message_keeps_nothing(held):
    memory = Memory(held=held)
    spool = Spool(memory, limit=100)
    for _ in range(30):
        spool.append(b"x" * 9)
    assert spool.too_large
    assert spool.size == 270
    assert memory.held == 0
    spool.discard()
    assert memory.held == 0


def test_a_discarded_spool_holds_nothing_and_may_be_discarded_again():
    memory = Memory()
    spool = Spool(memory, limit=10**9)
    spool.append(b"x" * 100_000)
    assert memory.held == 100_000
    spool.discard()
    spool.discard()
    assert memory.held == 0


def test_blocks_are_used_again_and_only_some_are_kept():
    memory = Memory(held=10 * KEPT)
    first = Spool(memory, limit=10**9)
    for _ in range(2 * KEPT // 1_000_000):
        first.append(b"x" * 1_000_000)
    assert set(first.whole()) == {ord("x")}
    assert len(memory._blocks) * BLOCK == KEPT
    second, third = Spool(memory, limit=10**9), Spool(memory, limit=10**9)
    for spool, octets in ((second, b"ab"), (third, b"cd")) * 2:
        spool.append(octets * 40_000)
    assert (second.whole(), third.whole()) == (b"ab" * 80_000, b"cd" * 80_000)
    assert memory.held == 0


async def test_large_messages_are_whole_in_turn():
    memory = Memory(whole=3 * SMALL)
    size = 2 * SMALL
    order = []

    async def one(name: str) -> None:
        await memory.grant(size)
        order.append(name)
        assert memory.whole <= 3 * SMALL
        await asyncio.sleep(0)
        memory.give_back(size)

    await asyncio.gather(*(one(name) for name in "abcd"))
    assert order == list("abcd")
    assert memory.whole == 0


async def test_one_message_larger_than_the_bound_still_gets_its_turn_alone():
    memory = Memory(whole=SMALL)
    assert memory.try_grant(10 * SMALL)
    assert not memory.try_grant(2 * SMALL)
    assert memory.try_grant(SMALL)  # small ones are not counted
    memory.give_back(10 * SMALL)
    assert memory.try_grant(2 * SMALL)


async def test_who_gives_up_waiting_is_passed_over():
    memory = Memory(whole=2 * SMALL)
    assert memory.try_grant(2 * SMALL)
    first = asyncio.ensure_future(memory.grant(2 * SMALL))
    second = asyncio.ensure_future(memory.grant(2 * SMALL))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    memory.give_back(2 * SMALL)
    await second
    assert memory.whole == 2 * SMALL
    # ... and who gives up when it is his turn already gives it back
    third = asyncio.ensure_future(memory.grant(2 * SMALL))
    await asyncio.sleep(0)
    memory.give_back(2 * SMALL)
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    assert memory.whole == 0


# -- greylist --------------------------------------------------------------------------------------------------------


@pytest.mark.rfc(6647, "2.4")
def test_a_triplet_is_let_in_after_the_delay_and_others_are_not():
    greylist = Greylist(300.0)
    first = greylist.check("192.0.2.1", "a@alpha.test", "b@beta.test", now=0.0)
    assert first is not None
    assert (first.code, first.enhanced) == (451, "4.7.1")
    assert greylist.check("192.0.2.99", "A@alpha.test", "b@beta.test", now=300.0) is None  # a neighbour, same network
    assert greylist.check("198.51.100.1", "a@alpha.test", "b@beta.test", now=300.0) is not None
    assert greylist.check("2001:db8::1", "a@alpha.test", "b@beta.test", now=300.0) is not None
    assert greylist.check("192.0.2.1", "a@alpha.test", "c@beta.test", now=300.0) is not None


def test_a_triplet_not_seen_for_long_is_new_again():
    greylist = Greylist(300.0)
    greylist.check("192.0.2.1", "a", "b", now=0.0)
    assert greylist.check("192.0.2.1", "a", "b", now=300.0) is None
    assert greylist.check("192.0.2.1", "a", "b", now=301.0 + FORGET_AFTER) is not None


def test_networks_hold_addresses_and_the_unix_socket_where_it_is_listed():
    networks = Networks(["192.0.2.0/24", "2001:db8::/32", "unix"])
    assert "192.0.2.7" in networks
    assert "2001:db8::1" in networks
    assert "192.0.3.7" not in networks
    assert "" in networks
    assert "" not in Networks(["127.0.0.1"])


# -- stepping --------------------------------------------------------------------------------------------------------


def test_a_coroutine_that_does_not_wait_needs_no_loop():
    done = []

    async def command() -> None:
        done.append(1)

    assert start(command()) is None
    assert done == [1]


async def test_a_coroutine_that_waits_goes_on_as_a_task():
    steps = []
    future = asyncio.get_running_loop().create_future()

    async def command() -> None:
        steps.append(await future)
        await within_task()
        async with asyncio.timeout(1):  # needs a current task
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await failing
        steps.append("end")

    failing = asyncio.get_running_loop().create_future()
    waiting = start(command())
    assert waiting is not None
    task = asyncio.ensure_future(waiting.rest())
    future.set_result("first")
    failing.set_exception(ZeroDivisionError())
    await task
    assert steps == ["first", "end"]


async def test_what_waits_for_one_future_goes_on_where_that_is_done_and_as_a_task_if_it_waits_again():
    steps = []
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()

    async def command() -> None:
        steps.append(await first)
        steps.append(asyncio.current_task())
        await second
        async with asyncio.timeout(1):  # needs a current task
            await asyncio.sleep(0)
        steps.append("end")

    waiting = start(command())
    assert waiting is not None
    ended = []
    assert waiting.when_done(lambda waited: ended.append(waited.ends()))
    first.set_result("first")
    await asyncio.sleep(0)
    assert steps == ["first", None]
    assert ended == [False]
    task = asyncio.ensure_future(waiting.rest())
    second.set_result(None)
    await task
    assert steps == ["first", None, "end"]


async def test_what_waits_for_a_task_only_is_no_future_to_be_waited_for():
    waiting = start(within_task())
    assert waiting is not None
    assert not waiting.when_done(lambda waited: None)
    await waiting.rest()


async def test_a_failure_of_the_future_is_raised_where_it_was_awaited():
    future = asyncio.get_running_loop().create_future()
    caught = []

    async def command() -> None:
        try:
            await future
        except ZeroDivisionError as error:
            caught.append(error)

    waiting = start(command())
    assert waiting is not None
    ended = []
    assert waiting.when_done(lambda waited: ended.append(waited.ends()))
    future.set_exception(ZeroDivisionError())
    await asyncio.sleep(0)
    assert len(caught) == 1
    assert ended == [True]


async def test_cancelling_the_task_cancels_what_waits():
    seen = []

    async def command() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    waiting = start(command())
    assert waiting is not None
    task = asyncio.ensure_future(waiting.rest())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    gc.collect()


# -- hand-over in process --------------------------------------------------------------------------------------------


def context(accepted: list, **changes) -> SubmitContext:
    async def accept(incoming):
        accepted.append(incoming)
        return incoming.reply

    return SubmitContext(**{"accept": accept, "new_id": lambda: "Q1", **changes})


ENVELOPE = Envelope("alice@alpha.test", (Recipient("bob@beta.test"),))
SPEC = ListenerSpec("alpha.smtp")


async def test_a_message_handed_over_passes_the_gate_and_gets_its_trace():
    accepted: list = []
    answer, queue_id = await hand_over(
        ENVELOPE, b"Subject: x\r\n\r\n.\r\n", spec=SPEC, context=context(accepted), client="http"
    )
    assert (answer.code, queue_id) == (250, "Q1")
    assert accepted[0].octets == b"Subject: x\r\n\r\n.\r\n"
    assert b"from http " in accepted[0].trace


@pytest.mark.parametrize(
    ("envelope", "octets", "code"),
    [
        (Envelope("a@alpha.test", ()), b"", 554),
        (Envelope("a@alpha..test", ENVELOPE.recipients), b"", 553),
        (Envelope("a@alpha.test", (Recipient("b b@beta.test"),)), b"", 553),
        (Envelope("é@alpha.test", ENVELOPE.recipients), b"", 553),
        (ENVELOPE, b"x" * 101, 552),
        (ENVELOPE, b"Subject: \xff\r\n\r\n", 554),
        (ENVELOPE, b"Received: x\r\n" * 100 + b"\r\n", 552),
    ],
)
async def test_what_smtp_would_refuse_is_refused(envelope, octets, code):
    accepted: list = []
    spec = ListenerSpec("alpha.smtp", mode="strict", offers=Offers.parse(["SIZE 100"]))
    answer, queue_id = await hand_over(envelope, octets, spec=spec, context=context(accepted), client="http")
    assert (answer.code, queue_id) == (code, "")
    assert accepted == []


async def test_a_recipient_or_a_store_that_refuses_is_answered_for():
    refusing = context([], check_recipient=lambda address: reply(550, "5.1.1", "unknown"))
    answer, _ = await hand_over(ENVELOPE, b"", spec=SPEC, context=refusing, client="http")
    assert answer.code == 550

    async def accept(_incoming):
        raise StoreFull("no room")

    answer, queue_id = await hand_over(ENVELOPE, b"", spec=SPEC, context=context([], accept=accept), client="http")
    assert (answer.code, queue_id) == (452, "")


async def test_a_binary_message_is_taken_as_by_bdat():
    accepted: list = []
    envelope = Envelope("a@alpha.test", ENVELOPE.recipients, body="BINARYMIME")
    spec = ListenerSpec("alpha.smtp", mode="strict", kind=Kind.SUBMISSION)
    octets = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\xff\n"
    answer, _ = await hand_over(envelope, octets, spec=spec, context=context(accepted), client="http")
    assert answer.code == 250, answer
    assert accepted[0].octets == octets
