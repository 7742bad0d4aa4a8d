"""The pytest plugin: a sandbox for the session, a fresh address for each test.

    def test_the_welcome_mail_arrives(mailbox, mailsandbox):
        my_application(smtp=mailsandbox.services["alpha.smtp"]).welcome(mailbox.address)
        assert "Welcome" in mailbox.wait_for(subject="Welcome").text

Imports nothing of the sandbox before a test asks for it: the plugin is loaded in every pytest run.
"""

import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mailsandbox.runtime.box import BoxFaults, Sent
    from mailsandbox.runtime.messages import Message
    from mailsandbox.runtime.synchronous import Box


class TestMailbox:
    """One test's own address: what arrives there, and nothing of other tests."""

    __test__ = False  # not a test class, whatever its name

    def __init__(self, box: "Box", address: str) -> None:
        self.box = box
        self.address = address

    @property
    def faults(self) -> "BoxFaults":
        """Scripted faults; taken back when the test ends."""
        return self.box.faults

    def send(self, **message: object) -> "Sent":
        """Send a message to this address; the arguments are those of `box.send`."""
        return self.box.send(self.address, **message)  # type: ignore[arg-type]  # checked by the method itself

    def wait_for(
        self,
        *,
        sender: str = "",
        subject: str | re.Pattern[str] = "",
        text: str | re.Pattern[str] = "",
        timeout: float = 10.0,
    ) -> "Message":
        """The first message that fits; the test fails with the nearest misses after `timeout` seconds."""
        return self.box.wait_for(to=self.address, sender=sender, subject=subject, text=text, timeout=timeout)

    def messages(self) -> "list[Message]":
        """What has arrived so far."""
        return self.box.messages(self.address)

    def reset(self) -> None:
        """Empty this address."""
        self.box.reset(self.address)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`mailsandbox_config = FILE` in the ini file configures the session's sandbox."""
    parser.addini("mailsandbox_config", "TOML file that configures the mailsandbox fixture", default="")


@pytest.fixture(scope="session")
def mailsandbox(pytestconfig: pytest.Config) -> "Iterator[Box]":
    """A running sandbox on free ports, one for the session (and for each xdist worker)."""
    from mailsandbox import Sandbox

    config = pytestconfig.getini("mailsandbox_config")
    with Sandbox(pytestconfig.rootpath / config if config else None) as box:
        yield box


@pytest.fixture
def mailbox(mailsandbox: "Box") -> Iterator[TestMailbox]:
    """A fresh address at beta.test with its own resets, faults and waits."""
    mine = TestMailbox(mailsandbox, f"test-{uuid.uuid4().hex[:12]}@beta.test")
    yield mine
    mailsandbox.faults.clear()
    mine.reset()
