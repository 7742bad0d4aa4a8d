"""Fixtures: rigs and next hops that are closed in the end."""

import pytest
from next_hop import NextHop
from rig import Rig


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
async def make_rig():
    rigs = []

    async def make(**options) -> Rig:
        rig = await Rig(**options).start()
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        await rig.aclose()
