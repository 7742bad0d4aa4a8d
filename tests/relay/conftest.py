"""Fixtures: rigs and next hops that are closed in the end."""

import itertools
import os

import pytest
from next_hop import NextHop
from postfix import Postfix
from rig import Rig

from mailsandbox.clock import ManualClock
from mailsandbox.smtp.extensions import Offers


@pytest.fixture
async def make_hop():
    hops = []

    async def make(**options) -> NextHop:
        hop = await NextHop(**options).start()
        hops.append(hop)
        return hop

    yield make
    for hop in hops:
        await hop.aclose()


@pytest.fixture
async def make_postfix(program):
    program("postfix")
    if os.geteuid() != 0:
        pytest.skip("postfix needs root to start")
    started = []

    async def make(onward: int, **options) -> Postfix:
        postfix = await Postfix(onward, **options).start()
        started.append(postfix)
        return postfix

    yield make
    for postfix in started:
        await postfix.aclose()


@pytest.fixture
async def make_rig():
    rigs = []

    async def make(**options) -> Rig:
        rig = await Rig(**options).start()
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        await rig.aclose()


@pytest.fixture
async def listen():
    """A real listener of this project; what it accepts is in its `accepted`."""
    started = []

    async def start(
        *, clock=None, offers=("PIPELINING", "8BITMIME", "SIZE 1000000", "DSN"), credentials=None, tls=None, **spec
    ):
        listener = Listening(clock or ManualClock(), offers, credentials, tls, spec)
        await listener.service.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        await listener.service.aclose()


class Listening:
    def __init__(self, clock, offers, credentials, tls, spec) -> None:
        from mailsandbox.submit.listener import SmtpListener
        from mailsandbox.submit.model import ListenerSpec, SubmitContext

        self.accepted = []
        numbers = itertools.count(1)

        async def accept(incoming):
            self.accepted.append(incoming)
            return incoming.reply

        context = SubmitContext(accept=accept, new_id=lambda: f"B{next(numbers)}", clock=clock, tls=tls)
        self.sessions = context.sessions
        if credentials is not None:
            context.credentials = credentials
        settings = {"service": "beta.smtp", "site": "beta", "offers": Offers.parse(offers), **spec}
        self.service = SmtpListener(ListenerSpec(**settings), context)

    @property
    def port(self) -> int:
        return self.service.port
