"""One mail transaction as the client says it: MAIL, RCPT, DATA or BDAT, pipelined where offered. Sans-I/O.

Invariants: the message's octets are sent as they are, made transparent for DATA (RFC 5321 §4.5.2) and untouched for
BDAT (RFC 3030); every recipient has exactly one result in the end; a message whose end was sent but not answered is a
possible duplicate (RFC 1047). Knows neither sockets nor time, nor why the octets are what they are.

    commands -> drain() -> [Sent(octets, as shown)]       the driver writes them
    replies  -> feed(reply)                                in the order of the commands (RFC 2920 §3.1)
    trouble  -> lost(why)                                  connection gone, or a deadline passed
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from mailsandbox.smtp.data import CRLF, END_OF_DATA, bdat_chunks, dot_stuff
from mailsandbox.smtp.replies import Reply, reply

PIPELINED_CHUNK: Final = 64 * 1024  # octets; a message up to this size is worth sending before RCPT is answered
CHUNK: Final = 1 << 20  # octets of one BDAT; large enough not to matter, small enough to hear an early refusal
_NO_WORD: Final = reply(451, "4.5.0", "the server said nothing about this recipient")


class Sent(msgspec.Struct, frozen=True):
    """What is to be written, and how the transcript shows it ("": not at all)."""

    octets: bytes | memoryview
    shown: str


# What the next reply answers; the driver takes its deadline from it (RFC 5321 §4.5.3.2).
# Words and no enum: Python 3.11 looks up an enum's member in the time of three calls.
Stage = Literal[
    "MAIL",
    "RCPT",
    "DATA",
    "CHUNK",  # BDAT without LAST
    "END",  # the end of data, or BDAT with LAST
    "RSET",
    "DONE",
]


class Mail(msgspec.Struct, frozen=True):
    """What is to be sent: command lines without CRLF, and the octets."""

    mail: bytes
    recipients: Sequence[bytes]
    octets: bytes
    bdat: bool = False
    lmtp: bool = False
    pipelining: bool = False


class _Expected(msgspec.Struct):
    """A reply that is due. `index` names the recipient, for RCPT, and for LMTP's reply to the end of data."""

    stage: Stage
    index: int = -1


class Transaction(msgspec.Struct, eq=False):
    """The conversation. `reusable` in the end: the connection is ready for another MAIL."""

    load: Mail
    results: list[Reply | None] = []
    uncertain: set[int] = set()  # recipients whose copy may have been accepted
    unanswered: set[int] = set()  # recipients about whom the reply is ours
    refused: set[int] = set()  # recipients whose reply is that to RCPT
    heard: bool = False  # the server has said something
    octets_sent: bool = False  # the whole message, with its end
    shutting: bool = False  # 421: the server closes the connection (RFC 5321 §3.8)
    reusable: bool = False
    done: bool = False  # no reply is due
    _due: deque[_Expected] = msgspec.field(default_factory=deque)
    _out: list[Sent] = []
    _accepted: list[int] = []
    _next_recipient: int = 0
    _mail_open: bool = False  # the server holds a reverse-path: RSET before the next MAIL
    _data_asked: bool = False
    _data_failed: bool = False

    def __post_init__(self) -> None:
        """Say what can be said before the first reply."""
        load = self.load
        self.results = [None] * len(load.recipients)
        self._say(load.mail, "MAIL")
        if not load.pipelining:
            return
        while self._next_recipient < len(load.recipients):
            self._say_recipient()
        # RFC 2920 §3.1: DATA must be the last command of a group. A BDAT may be pipelined with its octets
        # (RFC 3030 §2); a long one waits until it is known that somebody wants it.
        if not load.bdat:
            self._say(b"DATA", "DATA")
            self._data_asked = True
        elif len(load.octets) <= PIPELINED_CHUNK and not load.lmtp:  # LMTP: how many replies will come is not known yet
            self._say_chunks()

    @property
    def stage(self) -> Stage:
        """What the next reply answers."""
        return self._due[0].stage if self._due else "DONE"

    @property
    def over(self) -> bool:
        """Done, and all that was to be said has been drained."""
        return self.done and not self._out

    def drain(self) -> list[Sent]:
        """Take what is to be written now."""
        out, self._out = self._out, []
        return out

    def feed(self, answer: Reply) -> None:
        """The next reply."""
        expected = self._due.popleft()
        self.heard = True
        # RFC 5321 §3.8, §4.2.2: 421 may answer any command; the server then closes.
        if answer.code == 421:
            self.shutting = True
        match expected.stage:
            case "MAIL":
                self._on_mail(answer)
            case "RCPT":
                self._on_recipient(expected.index, answer)
            case "DATA":
                self._on_data(answer)
            case "CHUNK":
                self._on_chunk(answer)
            case "END":
                self._on_end(expected.index, answer)
            case "RSET":
                self.reusable, self.done = _done(answer), True  # nothing follows it
                return
        if self.shutting:
            self._shut(answer)
        elif not self._due:
            self._go_on()
        self.done = not self._due

    def lost(self, why: str) -> None:
        """The connection is gone, or an answer did not come in time: settle what is open."""
        # RFC 5321 §4.5.4.1, RFC 1047: without an answer to the end of data the message may have been accepted.
        if self.octets_sent and not self._data_failed:
            self.uncertain = {index for index in self._accepted if self.results[index] is None}
        self.unanswered = {index for index, result in enumerate(self.results) if result is None}
        # RFC 3463 §3.5: X.4.2 bad connection.
        self._settle_open(reply(451, "4.4.2", why))
        self._due.clear()
        self._out.clear()
        self.reusable = False
        self.done = True

    # What is said

    def _say(self, line: bytes, stage: Stage, *, index: int = -1) -> None:
        self._out.append(Sent(line + CRLF, line.decode("utf-8", "backslashreplace")))
        self._due.append(_Expected(stage, index))

    def _say_recipient(self) -> None:
        index = self._next_recipient
        self._next_recipient += 1
        self._say(self.load.recipients[index], "RCPT", index=index)

    def _say_chunks(self) -> None:
        self._data_asked = True
        for command, chunk in bdat_chunks(self.load.octets, CHUNK):
            self._out.append(Sent(command, command.decode("ascii").rstrip()))
            self._out.append(Sent(chunk, f"[{len(chunk)} octets of message data]"))
            if b"LAST" in command:
                self._expect_end()
            else:
                self._due.append(_Expected("CHUNK"))
        self.octets_sent = True

    def _say_octets(self) -> None:
        octets = self.load.octets
        stuffed = dot_stuff(octets)
        self._out.append(Sent(stuffed, f"[{len(octets)} octets of message data]"))
        # RFC 5321 §4.1.1.4: the CRLF of the last line is part of the content; added where it lacks.
        end = END_OF_DATA if not octets or octets.endswith(CRLF) else CRLF + END_OF_DATA
        self._out.append(Sent(end, "."))
        self.octets_sent = True
        self._expect_end()

    def _expect_end(self) -> None:
        if not self.load.lmtp:
            self._due.append(_Expected("END"))
            return
        # RFC 2033 §4.2: one reply for each recipient that was accepted, in order.
        self._due.extend(_Expected("END", index) for index in self._accepted)

    # What is heard

    def _on_mail(self, answer: Reply) -> None:
        if _done(answer):
            self._mail_open = True
        else:
            self._settle_open(answer)

    def _on_recipient(self, index: int, answer: Reply) -> None:
        if _done(answer):
            # After a refused MAIL a server that says 250 to RCPT is out of step; the refusal stands.
            if self.results[index] is None:
                self._accepted.append(index)
        elif self.results[index] is None:
            self.results[index] = answer
            self.refused.add(index)

    def _on_data(self, answer: Reply) -> None:
        if 300 <= answer.code < 400:
            if self._accepted:
                self._say_octets()
            else:
                # RFC 2920 §3.1: 354 although no recipient was accepted: an empty message ends it.
                self._data_failed = True
                self._out.append(Sent(END_OF_DATA, "."))
                if not self.load.lmtp:
                    self._due.append(_Expected("END"))
        else:
            self._data_failed = True
            if _done(answer):
                # RFC 5321 §4.3.2: DATA has no 2yz; nothing was sent, so nothing was taken.
                answer = reply(451, "4.5.0", f"the server answered DATA with {answer.code}")
            self._settle_accepted(answer)

    def _on_chunk(self, answer: Reply) -> None:
        if not _done(answer) and not self._data_failed:
            self._data_failed = True
            self._settle_accepted(answer)

    def _on_end(self, index: int, answer: Reply) -> None:
        # The transaction is over. RFC 3030 §2: after a BDAT that failed it is not, until RSET.
        self._mail_open = self.load.bdat and (self._data_failed or not self._accepted or not _done(answer))
        if index >= 0:
            if self.results[index] is None:
                self.results[index] = answer
        elif not self._data_failed:
            self._settle_accepted(answer)

    def _go_on(self) -> None:
        """All that was said has been answered: say the next thing."""
        if self._mail_open and not self._data_asked and not self._data_failed:
            if self._next_recipient < len(self.load.recipients):
                self._say_recipient()
                return
            if self._accepted:
                if self.load.bdat:
                    self._say_chunks()
                else:
                    self._data_asked = True
                    self._say(b"DATA", "DATA")
                return
        self._finish()

    def _finish(self) -> None:
        self._settle_open(_NO_WORD)
        if self._mail_open:
            # RFC 5321 §4.1.1.5: a reverse-path is pending; the next MAIL would be answered 503.
            self._mail_open = False
            self._say(b"RSET", "RSET")
        elif not self._out:
            self.reusable = True

    def _shut(self, answer: Reply) -> None:
        """421: what is open has had its answer, transient."""
        self._settle_open(answer)
        self._due.clear()
        self._out.clear()
        self.reusable = False

    def _settle_accepted(self, answer: Reply) -> None:
        for index in self._accepted:
            if self.results[index] is None:
                self.results[index] = answer

    def _settle_open(self, answer: Reply) -> None:
        for index, result in enumerate(self.results):
            if result is None:
                self.results[index] = answer


def beyond_limit(transaction: Transaction) -> list[int]:
    """The recipients that were too many (RFC 5321 §4.5.3.1.10), by their enhanced code, or without one as the last."""
    found: list[int] = []
    if not transaction.refused:
        return found
    last = True
    for index in reversed(range(len(transaction.results))):
        answer = transaction.results[index]
        refused = answer is not None and index in transaction.refused and answer.code in (452, 552)
        last = last and refused
        if refused and answer is not None and (answer.enhanced[1:] == ".5.3" or (not answer.enhanced and last)):
            found.insert(0, index)
    return found


def _done(answer: Reply) -> bool:
    """2yz. A 3yz where none is due is no yes: the server is out of step (RFC 5321 §4.2.1)."""
    return 200 <= answer.code < 300
