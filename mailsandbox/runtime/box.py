"""The sandbox as a test holds it: send, wait, look, move the clock, script faults.

`AsyncBox` lives on the caller's event loop. Times are seconds; addresses are local@domain; octets are exact.
"""

import asyncio
import contextlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailsandbox.access.http.waiting import TimedOut, wait_for
from mailsandbox.clock import ManualClock
from mailsandbox.errors import ConfigError, MailsandboxError, NoSuchMessage
from mailsandbox.faults import Fault, Faults, action_of
from mailsandbox.journey.assemble import Journey, assemble
from mailsandbox.journey.model import JourneyId
from mailsandbox.message.compose import Attached, compose
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.runtime.messages import Message
from mailsandbox.sandbox import MailSystem, Service
from mailsandbox.store.archive.exporting import export_zip
from mailsandbox.store.archive.importing import Imported, import_zip
from mailsandbox.store.views import MessageQuery, StoredMessage

DEFAULT_SENDER: Final = "alice@alpha.test"
SETTLING: Final = 5.0  # seconds that a journey waits for attempts under way


class WaitTimeout(AssertionError):
    """No such message came in time; the text lists the nearest misses."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What `send` handed over: the journey's id, and the id the first site gave it in its queue."""

    id: str
    queue_id: str


class BoxFaults:
    """The faults in force, in the words of a test."""

    def __init__(self, faults: Faults, sites: Collection[str]) -> None:
        self._faults = faults
        self._sites = sites

    def add(
        self,
        protocol: str = "",
        *,
        site: str = "",
        stage: str = "",
        account: str = "",
        text: str = "",
        reply: str = "",
        drop: bool = False,
        reset: bool = False,
        delay: float | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> Fault:
        """`faults.add("smtp", site="beta", stage="rcpt", reply="451 4.7.1 come back later", times=2)`.

        Exactly one of `reply` ("CODE [ENHANCED] TEXT"), `drop`, `reset` and `delay` (seconds). The fault returned
        counts its `hits`. Raises ConfigError for anything else, and for a protocol or stage that nothing asks for.
        """
        if site and site not in self._sites:
            raise ConfigError(f"fault: there is no site {site!r}; there are {', '.join(self._sites)}")
        return self._faults.add(
            Fault(
                action_of(reply=reply, drop=drop, reset=reset, delay=delay),
                protocol=protocol,
                site=site,
                stage=stage,
                account=account,
                text=text,
                times=times,
                skip=skip,
            )
        )

    def remove(self, fault: Fault) -> bool:
        """Take one back."""
        return self._faults.remove(fault.id)

    def clear(self) -> None:
        """Take all back."""
        self._faults.clear()

    def __len__(self) -> int:
        return len(self._faults)


class AsyncBox:
    """A running sandbox."""

    def __init__(self, system: MailSystem, authority: Path | None) -> None:
        self._system = system
        self.ca_file = authority
        self.faults = BoxFaults(system.faults, system.sites)

    @property
    def services(self) -> dict[str, Service]:
        """Host and port by service name: `host, port = box.services["imap"]`."""
        return self._system.services

    @property
    def url(self) -> str:
        """Where the HTTP API is."""
        return f"http://{self._system.services['http']}"

    @property
    def clock(self) -> ManualClock:
        """The manual clock. Raises MailsandboxError on a sandbox that runs on the system's time."""
        clock = self._system.clock
        if not isinstance(clock, ManualClock):
            raise MailsandboxError('this sandbox runs on the system\'s time: make it with Sandbox(clock="manual")')
        return clock

    async def send(
        self,
        to: str | Iterable[str],
        *,
        sender: str = DEFAULT_SENDER,
        cc: str | Iterable[str] = (),
        bcc: str | Iterable[str] = (),
        subject: str = "",
        text: str = "",
        html: str = "",
        attachments: Sequence[Attached | Path | str] = (),
        message: bytes | None = None,
        site: str = "alpha",
    ) -> Sent:
        """Hand a message to a site, as its first SMTP server would be handed it.

        `message`: the octets to send as they are; else one is composed. Raises MailsandboxError where the site refuses.
        """
        recipients = [*_listed(to), *_listed(cc), *_listed(bcc)]
        octets = message
        if octets is None:
            octets = compose(
                sender=sender,
                to=_listed(to),
                cc=_listed(cc),
                subject=subject,
                text=text,
                html=html,
                attachments=[_attached(item) for item in attachments],
                date=self._system.clock.now(),
            )
        body = "" if octets.isascii() else "8BITMIME"
        utf8 = not all(address.isascii() for address in (sender, *recipients))  # RFC 6531 §3.4
        envelope = Envelope(sender, tuple(Recipient(address) for address in recipients), body=body, smtputf8=utf8)
        submission = await self._system.submit(envelope, octets, site=site, client="in-process")
        if not submission.reply.positive:
            raise MailsandboxError(f"{site} refused the message: {submission.reply}")
        return Sent(submission.journey_id, submission.queue_id)

    async def wait_for(
        self,
        *,
        to: str = "",
        sender: str = "",
        subject: str | re.Pattern[str] = "",
        text: str | re.Pattern[str] = "",
        timeout: float = 10.0,
    ) -> Message:
        """The first message that fits everything given, present or to come. Raises WaitTimeout after `timeout`."""
        return (await self.wait_for_all(to=to, sender=sender, subject=subject, text=text, count=1, timeout=timeout))[0]

    async def wait_for_all(
        self,
        *,
        to: str = "",
        sender: str = "",
        subject: str | re.Pattern[str] = "",
        text: str | re.Pattern[str] = "",
        count: int = 1,
        timeout: float = 10.0,
    ) -> list[Message]:
        """The first `count` messages that fit."""
        system = self._system
        found = await wait_for(
            system.store, system.hub, to=to, sender=sender, subject=subject, text=text, count=count, timeout=timeout
        )
        if isinstance(found, TimedOut):
            raise WaitTimeout(found.describe())
        return await self._read(found.messages)

    async def messages(self, account: str = "", *, limit: int = 1000) -> list[Message]:
        """The newest `limit` messages of an account, or of all, in the order of their arrival."""
        page = await self._system.store.list_messages(MessageQuery(account=account, limit=limit))
        return await self._read(page.messages[::-1])

    async def journey(self, message: Message | Sent | str) -> Journey:
        """What happened to a message, hop by hop. Takes what `send` or `wait_for` returned, or an id of either.

        Attempts that are under way are waited for, so that a message that has arrived has its whole journey.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLING):
                await asyncio.gather(*(site.queue.quiet() for site in self._system.sites.values()))
        wanted = (
            message.journey_id if isinstance(message, Message) else message.id if isinstance(message, Sent) else message
        )
        known = await self._system.ledger.find(wanted)
        if known is None:
            raise NoSuchMessage(f"no journey of id {wanted!r}")
        return assemble(known, await self._system.ledger.events(JourneyId(known)))

    async def reset(self, account: str = "") -> None:
        """Empty one account, or everything: mail, queues, faults. What waited is `removed` in its journey."""
        await self._system.reset(account or None)

    async def export_zip(self, path: Path | str, *, accounts: str | Iterable[str] = (), mailbox: str = "") -> int:
        """Write everything (or some accounts, or their `mailbox`) to a zip; returns how many messages.

        Raises StoreError, NoSuchAccount and NoSuchMailbox among them; then nothing is written.
        """
        system = self._system
        return await export_zip(system.store, system.ledger, Path(path), accounts=_listed(accounts), mailbox=mailbox)

    async def import_zip(self, path: Path | str) -> Imported:
        """Bring such a zip back, UIDs and journeys included; `print(imported.describe())` says what was done.

        Raises BadArchive with nothing done, and StoreError, which says what was.
        """
        system = self._system
        return await import_zip(system.store, system.ledger, Path(path), may_exist=system.spec.credentials.may_exist)

    async def run_queue(self) -> None:
        """Try everything that waits in a queue now."""
        await asyncio.gather(*(site.queue.run() for site in self._system.sites.values()))

    async def _read(self, stored: Sequence[StoredMessage]) -> list[Message]:
        contents = await self._system.store.contents([message.row for message in stored])
        return [
            Message(
                id=message.row.message_id,
                account=message.account,
                mailbox=message.mailbox,
                uid=message.row.uid,
                subject=message.subject,
                sender=message.sender,
                to=message.to,
                flags=message.row.flags.names,
                received_at=message.row.internal_date,
                journey_id=message.journey_id,
                octets=bytes(octets),
            )
            for message, octets in zip(stored, contents, strict=True)
            if octets is not None
        ]


def _listed(addresses: str | Iterable[str]) -> list[str]:
    return [addresses] if isinstance(addresses, str) else list(addresses)


def _attached(item: Attached | Path | str) -> Attached:
    return item if isinstance(item, Attached) else Attached.from_file(Path(item))
