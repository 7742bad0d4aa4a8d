"""Capabilities and personalities that the configuration names."""

import dataclasses
import re

import pytest

from mailsandbox.errors import ConfigError
from mailsandbox.sandbox import refuse_unknown_manners
from mailsandbox.specs import SandboxSpec
from mailsandbox.store.credentials import AccountSpec, Credentials


def lacking(*names: str) -> SandboxSpec:
    spec = SandboxSpec()
    return dataclasses.replace(spec, access=dataclasses.replace(spec.access, capabilities_off=frozenset(names)))


def resembling(personality: str) -> SandboxSpec:
    account = AccountSpec("secret", None, personality)
    return dataclasses.replace(SandboxSpec(), credentials=Credentials(specs={"bob@beta.test": account}))


@pytest.mark.parametrize("name", ["CONDSTORE", "LOGIN-DELAY", "STLS", "APOP", "AUTH=PLAIN", "sort=display"])
def test_a_capability_that_imap_or_pop3_has_can_be_switched_off(name):
    refuse_unknown_manners(lacking(name))


@pytest.mark.parametrize("name", ["CONDSTOER", "AUTH=NONSENSE", "AUTH=", ""])
def test_a_capability_that_neither_has_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=re.escape(repr(name))):
        refuse_unknown_manners(lacking("IDLE", name))


@pytest.mark.parametrize("name", ["", "gmail", "no-uidl", "rfc3501-minimal"])
def test_a_personality_that_imap_or_pop3_has_is_taken(name):
    refuse_unknown_manners(resembling(name))


def test_an_unknown_personality_is_refused_with_its_account_and_those_there_are():
    with pytest.raises(ConfigError, match=r"bob@beta\.test: unknown personality 'gmial'; known: .*gmail"):
        refuse_unknown_manners(resembling("gmial"))


async def test_a_sandbox_does_not_start_with_one():
    from mailsandbox import Sandbox  # with all that it imports

    with pytest.raises(ConfigError, match="CONDSTOER"):
        async with Sandbox(lacking("CONDSTOER")):
            pass
