"""A queue per test."""

import pytest
from kit import Kit


@pytest.fixture
async def make_kit():
    kits = []

    async def make(**options) -> Kit:
        kit = await Kit(**options).start()
        kits.append(kit)
        return kit

    yield make
    for kit in kits:
        await kit.aclose()
