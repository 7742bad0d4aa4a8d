"""One POP3 session: a line in, an effect out (RFC 1939). Pure; the server carries effects out and reports back.

Invariants: commands are handled strictly in order, one effect each; the state moves only by the table in `states`; a
command of a capability that is switched off is as unknown as a misspelt one.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mailsandbox.access.pop3 import codec
from mailsandbox.access.pop3.authorization import Authorization, Host
from mailsandbox.access.pop3.commands import (
    Apop,
    Auth,
    Bad,
    Command,
    Dele,
    Lang,
    List,
    Pass,
    Retr,
    Simple,
    State,
    Top,
    Uidl,
    User,
    parse,
)
from mailsandbox.access.pop3.effects import Commit, Effect, Fetch, Leave, Message, Say, Voice, line
from mailsandbox.access.pop3.maildrop import Maildrop
from mailsandbox.access.pop3.personality import Manner
from mailsandbox.access.pop3.states import Event, move
from mailsandbox.access.pop3.texts import DEFAULT, NAMES, language
from mailsandbox.sasl import FailureCode, SecretSource
from mailsandbox.store.model import MessageRow

LARGE: Final = codec.CHUNK  # octets of a message from which on it is sent in pieces


class Session:
    """The protocol's logic for one connection."""

    def __init__(self, manner: Manner, credentials: SecretSource, *, host: Host) -> None:
        self.state = State.AUTHORIZATION
        self._manner = manner
        self._voice = Voice()
        self._host = host if manner.offers("APOP") else replace(host, stamp="")
        self._errors = 0
        self.shown = ""  # the last line as transcripts may have it
        self.verb = ""  # and its command
        self.authorization = Authorization(manner, credentials, self._voice, host=self._host)
        self._maildrop = Maildrop((), uid_validity=0)

    @property
    def manner(self) -> Manner:
        """The personality in force."""
        return self._manner

    def greeting(self) -> Say:
        """The first line."""
        own = self._manner.personality.greeting
        words = f"+OK {own}" if own else self._voice.ok("ready").shown
        return line(f"{words} {self._host.stamp}".rstrip())  # RFC 1939 §7: the timestamp announces APOP

    # -- lines

    def hear(self, octets: bytes) -> None:
        """Take a line in: sets `verb` and `shown`; `act` then says what is to be done."""
        if self.authorization.in_exchange:
            self._response: bytes | None = octets
            self.verb, self.shown = "AUTH", "*" if octets.strip() == b"*" else "***"
            return
        self._response = None
        self._parsed = parse(octets)
        self.verb, self.shown = self._parsed.verb, self._parsed.shown

    def act(self) -> Effect:
        """What the line that was heard asks for."""
        effect = self.authorization.respond(self._response) if self._response is not None else self._command()
        return self._counted(effect)

    def too_long(self) -> Effect:
        """A line over the limit; it may have been a response, so an exchange ends here."""
        self.shown, self.verb = "[line too long]", ""
        if self.authorization.in_exchange:
            self.authorization.respond(b"*")
        return self._counted(self._voice.error("too-long"))

    def _counted(self, effect: Effect) -> Effect:
        """Errors in a row end in a goodbye."""
        if type(effect) is not Say or not effect.error:
            if type(effect) is not Leave:
                self._errors = 0
            return effect
        self._errors += 1
        if self._errors < self._manner.options.max_errors:
            return effect
        self._lost()
        return Leave(self._voice.error("too-many-errors"), "too many errors")

    def _command(self) -> Effect:
        parsed = self._parsed
        if parsed.rule is None or not self._manner.offers(parsed.rule.capability):
            return self._voice.error("unknown-command")
        if self.state not in parsed.rule.states:
            return self._voice.error("wrong-state")
        match parsed.command:
            case Retr(number=number):  # first: a client sends thousands of these
                return self._one(parsed.command, number)
            case Bad(text=text):
                return self._voice.error(text)
            case Simple.QUIT:
                return self._quit()
            case Simple.CAPA:
                return self._capabilities()
            case Simple.NOOP:
                return self._voice.ok("noop")
            case Lang(tag=tag):
                return self._language(tag)
            case User() | Pass() | Apop() | Auth() | Simple.STLS | Simple.UTF8 as command:
                return self.authorization.handle(command)
            case command:
                return self._transaction(command)

    # -- both states

    def _capabilities(self) -> Say:
        """RFC 2449 §5, §6."""
        manner = self._manner
        plain = ("TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING")
        body = [name for name in plain if manner.offers(name)]
        if manner.offers("USER") and self.authorization.takes_clear:
            body.append("USER")
        if mechanisms := self.authorization.mechanisms():
            body.append(f"SASL {' '.join(mechanisms)}")  # RFC 5034 §3
        if self.state is State.AUTHORIZATION and self.authorization.offers_stls:
            body.append("STLS")
        if manner.offers("UTF8"):
            body.append("UTF8 USER")  # RFC 6856 §2: names and passwords too
        if manner.offers("LANG"):
            body.append("LANG")
        if manner.offers("EXPIRE"):
            body.append(f"EXPIRE {manner.personality.expire}")
        delay = manner.personality.login_delay
        if manner.offers("LOGIN-DELAY"):
            body.append(f"LOGIN-DELAY {manner.options.login_delay if delay is None else delay}")
        if manner.offers("IMPLEMENTATION"):
            body.append(f"IMPLEMENTATION mailsandbox-{self._host.version}")
        return self._voice.lines("capa", "".join(f"{item}\r\n" for item in body).encode(), f"[{', '.join(body)}]")

    def _language(self, tag: str) -> Say:
        """RFC 6856 §3."""
        if not tag:
            body = "".join(f"{code} {name}\r\n" for code, name in NAMES.items()).encode()
            return self._voice.lines("languages", body, f"[{', '.join(NAMES)}]")
        chosen = language(tag)
        if chosen is None:
            return self._voice.error("no-language")
        self._voice.speak(chosen)
        shown = "en" if chosen == DEFAULT else chosen
        return line(f"+OK {shown} {self._voice.ok('language').shown[4:]}")

    def _quit(self) -> Effect:
        authorized = self.state is State.TRANSACTION
        self.state = move(self.state, Event.QUIT)
        if not authorized:
            return Leave(self._voice.ok("bye"))
        return Commit(self._maildrop.doomed, self._maildrop.read)

    # -- TRANSACTION

    def _transaction(self, command: Command) -> Effect:
        maildrop = self._maildrop
        match command:
            case Top(number=number) | Dele(number=number) | List(number=int(number)) | Uidl(number=int(number)):
                return self._one(command, number)
            case Simple.STAT:
                return self._voice.ok("stat", count=maildrop.count, octets=maildrop.octets)
            case List(number=None):
                shown = f"[{maildrop.count} lines]"
                return self._voice.lines(
                    "list", maildrop.listing(), shown, count=maildrop.count, octets=maildrop.octets
                )
            case Uidl(number=None):
                return self._voice.lines(
                    "list", maildrop.unique_ids(), f"[{maildrop.count} lines]",
                    count=maildrop.count, octets=maildrop.octets,
                )  # fmt: skip
            case Simple.RSET:
                maildrop.undelete()
                return self._voice.ok("reset", count=maildrop.count, octets=maildrop.octets)
            case _:
                return self._voice.error("wrong-state")

    def _one(self, command: Retr | List | Uidl | Top | Dele, number: int) -> Effect:
        row = self._maildrop.find(number)
        if row is None:
            missing = "deleted" if self._maildrop.is_deleted(number) else "no-such-message"
            return self._voice.error(missing, number=number)
        match command:
            case Retr():
                return Fetch(number, row)
            case List():
                return line(f"+OK {number} {row.octets}")
            case Uidl():
                return line(f"+OK {number} {self._maildrop.unique_id(row)}")
            case Top(lines=lines):
                return Fetch(number, row, lines)
            case _:
                self._maildrop.delete(number)  # RFC 1939 §5: removed in UPDATE only
                return self._voice.ok("marked", number=number)

    def ahead(self, fetch: Fetch, *, messages: int, octets: int) -> list[MessageRow]:
        """The messages worth reading together with this one: a client that began in order goes on so."""
        in_order = fetch.number == 1 or fetch.number - 1 in self._maildrop.retrieved
        if fetch.lines is not None or not in_order:
            return [fetch.row]
        return self._maildrop.following(fetch.number, messages=messages, octets=octets)

    def fetched(self, fetch: Fetch, octets: bytes | None) -> Message | Say | Iterator[bytes | memoryview]:
        """The response with the message's octets (None: it is gone); pieces where it is large."""
        if octets is None:
            return self._voice.error("vanished", number=fetch.number)
        if self._manner.personality.refuse_utf8 and not self.authorization.utf8 and _has_utf8_header(octets):
            return self._voice.error("need-utf8", "UTF8")  # RFC 6856 §5
        if fetch.lines is None:
            self._maildrop.retrieved.add(fetch.number)
            first = self._voice.ok("message", octets=fetch.row.octets)
            self.shown = f"{first.shown} [{fetch.row.octets} octets of message data]"
        else:
            octets = codec.top(octets, fetch.lines)
            first = self._voice.ok("top")
            self.shown = f"{first.shown} [{len(octets)} octets of message data]"
        if len(octets) > LARGE:
            return _large(first, octets)
        return Message(first.octets, codec.framed(octets), self.shown)

    # -- what the server reports

    def opened(self, maildrop: Maildrop, manner: Manner) -> Say:
        """The client is logged in, and has the lock."""
        self.state = move(self.state, Event.LOGGED_IN)
        self._errors = 0
        self._maildrop = maildrop
        self._manner = manner
        return self._voice.ok("logged-in", count=maildrop.count, octets=maildrop.octets)

    def denied(self, code: FailureCode, *, final: bool) -> Say | Leave:
        """The login was refused."""
        effect = self.authorization.denied(code, final=final)
        if isinstance(effect, Leave):
            self._lost()
        return effect

    def failed(self, text: str, code: str = "", **places: object) -> Say:
        """Something did not work; the state stays."""
        return self._voice.error(text, code if self._manner.offers("RESP-CODES") else "", **places)

    def committed(self, removed: int, *, failed: bool) -> Leave:
        """UPDATE is over."""
        self.state = move(self.state, Event.COMMITTED)
        if failed:  # RFC 1939 §6: -ERR says that not all was removed
            return Leave(self.failed("not-removed", "SYS/TEMP"), "not all deleted")
        return Leave(self._voice.ok("removed", count=removed) if removed else self._voice.ok("bye"))

    def thrown_out(self, text: str, **places: object) -> Leave:
        """The server ends the session: time-out, shutdown."""
        self._lost()
        return Leave(self.failed(text, "SYS/TEMP" if text == "shutdown" else "", **places), text)

    def lost(self) -> None:
        """The connection is gone."""
        self._lost()

    def _lost(self) -> None:
        self.state = move(self.state, Event.LOST)


def _large(first: Say, octets: bytes) -> Iterator[bytes | memoryview]:
    yield first.octets
    yield from codec.stuffed_in_chunks(octets)


def _has_utf8_header(octets: bytes) -> bool:
    end = octets.find(b"\r\n\r\n")
    return not (octets if end < 0 else octets[:end]).isascii()
