"""The state of one connection: who is logged in, what is selected, what was enabled, what is still to be told.

Invariants: the state moves only along MOVES; everything the client reads passes through `send`; changes reach the view
through `wake` alone, own ones included. Knows no socket: it writes to a Rim and reads from an Input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

from mailsandbox.access.imap.announcing import announce
from mailsandbox.access.imap.capabilities import listing
from mailsandbox.access.imap.fetching.header_cache import HeaderCache
from mailsandbox.access.imap.fetching.plan import Plan, compile_plan
from mailsandbox.access.imap.grammar.fetch import Attribute
from mailsandbox.access.imap.input import Input
from mailsandbox.access.imap.lint import Lint
from mailsandbox.access.imap.names import encode_name
from mailsandbox.access.imap.personalities import ImapOptions, Personality
from mailsandbox.access.imap.responses import astring, untagged
from mailsandbox.access.imap.view import RecentMarks, View
from mailsandbox.journey.sessions import SessionRecord
from mailsandbox.store.logrow import Changes
from mailsandbox.store.model import Flags, Uid

if TYPE_CHECKING:
    from mailsandbox.access.context import AccessContext
    from mailsandbox.access.imap.contexts import SearchContext
    from mailsandbox.access.imap.notifying import Notifications
    from mailsandbox.store.state import MailboxState


class State(Enum):
    """RFC 9051 §3."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()
    LOGOUT = auto()


ANY: Final = frozenset({State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED})
UNKNOWN: Final = frozenset({State.NOT_AUTHENTICATED})
KNOWN: Final = frozenset({State.AUTHENTICATED, State.SELECTED})
OPEN: Final = frozenset({State.SELECTED})

# RFC 9051 §3, the state diagram: every legal move.
MOVES: Final = {
    State.NOT_AUTHENTICATED: frozenset({State.AUTHENTICATED, State.LOGOUT}),
    State.AUTHENTICATED: frozenset({State.SELECTED, State.LOGOUT}),
    State.SELECTED: frozenset({State.AUTHENTICATED, State.SELECTED, State.LOGOUT}),
    State.LOGOUT: frozenset[State](),
}


class Rim(Protocol):
    """The connection below the session."""

    @property
    def tls(self) -> bool: ...
    def write(self, octets: bytes) -> None: ...
    def flush(self) -> None: ...
    async def drained(self) -> None: ...
    def start_tls(self) -> None: ...
    def start_compression(self) -> None: ...


@dataclass(slots=True)
class Selected:
    """The mailbox that is open."""

    state: "MailboxState"
    view: View
    read_only: bool
    recent: RecentMarks = field(default_factory=RecentMarks)
    contexts: "dict[bytes, SearchContext]" = field(default_factory=dict)
    saved: list[Uid] = field(default_factory=list)  # "$", RFC 5182
    renumbered: bool = False  # the session knew this mailbox with another UIDVALIDITY
    keywords: set[str] = field(default_factory=set)  # that the client was told of in FLAGS
    known_flags: dict[int, Flags] = field(default_factory=dict)  # by id(): sets of which every keyword was told

    @property
    def gone(self) -> bool:
        """The mailbox was deleted, or the whole account was emptied, under the session."""
        return self.state.removed


class Session:
    """One connection. Handlers read and change it; `dispatch` runs it."""

    def __init__(
        self,
        context: "AccessContext",
        options: ImapOptions,
        *,
        rim: Rim,
        source: Input,
        record: SessionRecord,
        headers: HeaderCache,
    ) -> None:
        self.context = context
        self.options = options
        self.headers = headers
        self.rim = rim
        self.input = source
        self.record = record
        self.lint = Lint()
        self.state = State.NOT_AUTHENTICATED
        self.account = ""
        self.on = options.on()
        self.manners: Personality = options.manners()
        self.enabled: set[str] = set()
        self.selected: Selected | None = None
        self.notifications: Notifications | None = None
        self.client_id: dict[str, str] = {}
        self.idling = False
        self.busy = False  # a command is being executed: changes wait for its end
        self.compressed = False
        self.ambiguous = False  # the client sent more without waiting for a command that may have told EXPUNGE
        self.tag = b""
        self.logged_out = False  # LOGOUT was said: the end is in order
        self.guard = context.logins.guard()
        self.after_reply: Callable[[], None] | None = None  # STARTTLS and COMPRESS begin behind the tagged OK
        self._unlisten: Callable[[], None] | None = None
        self._last_plan: tuple[tuple[Attribute, ...], bool, Plan] | None = None

    # -- state

    def move(self, state: State) -> None:
        """Every change of state; an illegal one is our bug."""
        assert state in MOVES[self.state], f"{self.state} -> {state}"
        self.state = state

    def logged_in(self, account: str) -> None:
        """From now on everything is about this account, with its own personality."""
        self.account = account
        spec = self.context.credentials.spec(account)
        own = spec.personality if spec is not None else ""
        self.on = self.options.on(account, own)
        self.manners = self.options.manners(own)
        self.input.framer.nonsync_limit = self.nonsync_limit
        self.record.account = account
        self.move(State.AUTHENTICATED)
        self._unlisten = self.context.hub.listen(account, self.wake)

    @property
    def nonsync_limit(self) -> int | None:
        """Largest {n+}: RFC 7888."""
        if "LITERAL+" in self.on:
            return None
        return 4_096 if "LITERAL-" in self.on else -1

    def select(self, selected: Selected) -> None:
        """This mailbox is open now."""
        assert self.selected is None
        self.selected = selected
        self.move(State.SELECTED)

    def unselect(self) -> None:
        """No mailbox is open now."""
        if self.selected is not None:
            self.selected.state.release()
            self.selected = None
            self.move(State.AUTHENTICATED)

    def close(self) -> None:
        """The connection ended, in whatever way. May be called again."""
        if self.selected is not None:
            self.selected.state.release()
            self.selected = None
        self.state = State.LOGOUT
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

    @property
    def opened(self) -> Selected:
        """The open mailbox, in a handler of the selected state."""
        assert self.selected is not None, "dispatch checked the state"
        return self.selected

    def report(self, rule: str, detail: str = "") -> None:
        """A lint finding; each rule once a session."""
        finding = self.lint.found(rule, detail)
        if finding is not None:
            self.record.finding(finding)

    # -- what the client enabled

    @property
    def utf8(self) -> bool:
        """The client takes UTF-8 in strings and names (RFC 6855 §3, RFC 9051 §6.3.1)."""
        return "UTF8=ACCEPT" in self.enabled or "IMAP4rev2" in self.enabled

    @property
    def rev2(self) -> bool:
        """RFC 9051 §6.3.1: after ENABLE IMAP4rev2, and with a server that speaks nothing else."""
        return "IMAP4rev2" in self.enabled or "IMAP4rev1" not in self.on

    @property
    def condstore(self) -> bool:
        """RFC 7162 §3.1: the client used a CONDSTORE-enabling command."""
        return "CONDSTORE" in self.enabled or "QRESYNC" in self.enabled

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.enabled

    @property
    def uid_only(self) -> bool:
        """RFC 9586 §3."""
        return "UIDONLY" in self.enabled

    def enable(self, name: str) -> None:
        """From now on the client understands what this capability allows."""
        self.enabled.add(name)
        self._last_plan = None

    def use_condstore(self) -> None:
        """RFC 7162 §3.1.2: a CONDSTORE-enabling command was given; in a mailbox its HIGHESTMODSEQ is told."""
        if self.condstore or "CONDSTORE" not in self.on:
            return
        self.enabled.add("CONDSTORE")
        if self.selected is not None:
            self.untagged(f"OK [HIGHESTMODSEQ {self.selected.state.highest_mod_seq}] Highest")

    def has_plan(self, attributes: tuple[Attribute, ...], *, uid: bool) -> bool:
        """Whether these are the attributes of the last FETCH, which was found to be allowed."""
        last = self._last_plan
        return last is not None and last[0] is attributes and last[1] is uid

    def plan(self, attributes: tuple[Attribute, ...], *, uid: bool) -> Plan:
        """The compiled FETCH; the last one is kept, as clients ask the same again and again."""
        last = self._last_plan
        if last is not None and last[0] is attributes and last[1] is uid:
            return last[2]
        plan = compile_plan(attributes, uid=uid, uid_only=self.uid_only)
        self._last_plan = (attributes, uid, plan)
        return plan

    # -- output

    def send(self, octets: bytes) -> None:
        """One or more whole responses."""
        self.rim.write(octets)

    def untagged(self, text: str) -> None:
        """One untagged response made of plain text."""
        self.record.server(f"* {text}")
        self.rim.write(untagged(text.encode("utf-8", "replace")))

    def say(self, octets: bytes) -> None:
        """One untagged response of octets, which also goes to the transcript."""
        self.record.server("* " + octets.decode("utf-8", "replace"))
        self.rim.write(untagged(octets))

    def name(self, mailbox: str) -> bytes:
        """A mailbox name as an astring that this client reads."""
        return astring(encode_name(mailbox, utf8=self.utf8), utf8=self.utf8)

    def capability_text(self) -> str:
        """What follows CAPABILITY in a response or response code."""
        return listing(
            self.on,
            authenticated=self.state is not State.NOT_AUTHENTICATED,
            mechanisms=self.mechanisms(),
            tls_possible=self.context.tls is not None and not self.rim.tls,
            login_disabled=self.login_disabled,
            append_limit=self.options.append_limit,
        )

    @property
    def login_disabled(self) -> bool:
        """RFC 9051 §6.2.3: plain text passwords only under TLS, if the configuration says so."""
        return self.options.require_tls and not self.rim.tls

    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms offered now."""
        from mailsandbox.sasl import mechanisms

        if self.login_disabled:
            return ()
        off = self.options.mechanisms_off()
        return [name for name in mechanisms(self.context.credentials, tls=self.rim.tls) if name not in off]

    # -- changes

    def announced(self, uids: Sequence[Uid]) -> None:
        """The client was told of these new messages; the journey of each notes the first time."""
        if self.selected is not None:
            protocol = "imap-idle" if self.idling else "imap"
            self.context.ledger.shown(self.selected.state.key, uids, protocol)

    def wake(self, changes: Changes) -> None:
        """Called by the hub on the loop thread, right after a commit."""
        selected = self.selected
        if selected is not None:
            key = selected.state.key  # the name may have changed since a row was written
            own = [row for row in changes.rows if row.mailbox_key == key]
            if own:
                selected.view.note(own)
                for search in selected.contexts.values():
                    search.note(own)
        if self.notifications is not None:
            self.notifications.note(changes.rows, selected=selected.state.name if selected is not None else None)
        if self.idling or (self.notifications is not None and not self.busy):
            self.push()

    def push(self) -> None:
        """Tell what there is to tell while no command runs (IDLE, NOTIFY); written at once, not at the loop's turn."""
        selected = self.selected
        if selected is not None and selected.gone:
            self.input.poke()
            return
        if self.idling and self.notifications is None:
            announce(self, expunge=True)
            if selected is not None and selected.contexts:
                self.input.poke()
        elif self.notifications is not None:
            self.notifications.push(self)
        self.rim.flush()

    async def drained(self) -> None:
        """Wait until the client has read most of what was written."""
        await self.rim.drained()
