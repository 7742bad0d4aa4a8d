"""Message data of one SMTP session: read by DATA or BDAT, spooled, judged, handed over, answered.

    DataReader or BDAT count ──▶ Spool ──▶ Gate ──▶ context.accept ──▶ 250

Commit point: `context.accept` has returned. Before it nothing lasts; after it the message is the site's, even where
the client is gone and never sees the 250 (RFC 5321 §6.1).
"""

import asyncio
from typing import TYPE_CHECKING, Final

from mailsandbox.errors import QueueError, StoreError
from mailsandbox.faults import Respond
from mailsandbox.message.trace import leading_received
from mailsandbox.message.underway import LARGE
from mailsandbox.smtp.data import DataReader, in_one_piece
from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.submit.conversation import Hang, TakeChunk
from mailsandbox.submit.gate import Passed, add_transcript
from mailsandbox.submit.model import EachReply, Incoming
from mailsandbox.submit.spool import Piece, Spool
from mailsandbox.submit.transaction import Transaction
from mailsandbox.submit.wire import SmtpWire

if TYPE_CHECKING:
    from mailsandbox.submit.listener import Shared

_GO_ON: Final = reply(354, "", "End data with <CR><LF>.<CR><LF>")


class SmtpReceiving(SmtpWire):
    """The way of a message from the wire to the site."""

    def __init__(self, shared: "Shared") -> None:
        super().__init__(shared)
        self._data: DataReader | None = None  # of a message that does not come in one piece
        self._chunk = TakeChunk(0, last=False)
        self._chunk_left = 0
        self._mark = 0  # where in the transcript the last transaction ended

    def take_data(self) -> None:
        """Say 354 and read on."""
        if self._input:
            # RFC 2920 §3.1: DATA is the last command of a group; what follows it unasked may be smuggled commands.
            self.hang(Hang(reply(554, "5.5.0", "Message data before the 354 (RFC 2920 §3.1)")))
            return
        self.say(_GO_ON)
        self._begin_receiving()
        self._reading = "data"

    def _begin_receiving(self) -> None:
        self._receiving_since = self._heard
        limits = self.spec.limits
        if limits.message_seconds < limits.command_seconds:
            self._reset_timeout(limits.message_seconds)

    def _receive(self, octets: bytes) -> None:
        reader, spool = self._data, self._spool
        if reader is None or spool is None:
            if (content := in_one_piece(octets)) is not None:
                self._data_ended(Piece(content, limit=self.spec.max_octets))
                return
            reader, spool = self._data, self._spool = DataReader(), self._shared.spool()
        if content := reader.feed(octets):
            spool.append(content)
        if reader.ended:
            self._input += reader.rest
            self._data = None
            self._data_ended(spool)

    def _data_ended(self, message: Spool | Piece) -> None:
        self._record.client(f"[{message.size} octets of message data]")
        self._record.client(".")
        self._end_of_message(message)

    def take_chunk(self, chunk: TakeChunk) -> None:
        """Read a chunk, to be kept or thrown away."""
        if self._spool is None:
            self._begin_receiving()
        if chunk.refusal is None:
            self.envelope.chunks += 1
            self._spool = self._spool or self._shared.spool()
        elif self.envelope.open:
            self.envelope.broken = True
        self._chunk, self._chunk_left = chunk, chunk.octets
        self._reading = "chunk"
        octets = bytes(self._input[: self._chunk_left])
        del self._input[: len(octets)]
        self._receive_chunk(octets)

    def _receive_chunk(self, octets: bytes) -> None:
        if len(octets) > self._chunk_left:
            self._input += octets[self._chunk_left :]
            octets = octets[: self._chunk_left]
        self._chunk_left -= len(octets)
        if self._spool is not None and self._chunk.refusal is None:
            self._spool.append(octets)
        if self._chunk_left:
            return
        chunk, spool = self._chunk, self._spool
        if chunk.octets:
            self._record.client(f"[{chunk.octets} octets of message data]")
        if chunk.refusal is not None:
            self._proceed(chunk.refusal)
        elif chunk.last:
            assert spool is not None
            self._end_of_message(spool)
        elif spool is not None and spool.too_large:
            self.envelope.broken = True
            self._proceed(self._too_large(spool.size))
        else:
            self._proceed(reply(250, "2.0.0", f"{chunk.octets} octets received"))

    def _end_of_message(self, spool: Spool | Piece) -> None:
        """Everything is here."""
        self._reading = "waiting"
        self._spool = None
        self._step(self._conclude(spool), once=True)

    async def _conclude(self, spool: Spool | Piece) -> None:
        transaction = self.envelope
        try:
            answer = await self._examine(spool, transaction)
        except Exception as error:
            answer = self._local_error(error)
        finally:
            spool.discard()
        # RFC 5321 §4.1.1.4: the end of data ends the transaction, whatever became of it.
        self._set_post_data_state()  # type: ignore[no-untyped-call]  # aiosmtpd's
        if answer is None:  # broken off by a fault
            return
        *before, last = self._answers(answer, transaction)
        if last.positive or any(one.positive for one in before):
            self._accepted += 1
        else:
            self._refused += 1
        self._mark = self._record.mark + len(before) + 1
        for one in before:
            self.say(one)
        self._proceed(last)

    def _answers(self, answer: Reply | EachReply, transaction: Transaction) -> list[Reply]:
        if isinstance(answer, Reply) and not self.spec.lmtp:
            return [answer]
        # RFC 2033 §4.2: LMTP has one reply for each recipient that RCPT took, in that order.
        replies = dict.fromkeys(transaction.rcpt_tos, answer) if isinstance(answer, Reply) else answer.replies
        return [transaction.refused.get(one) or replies[one] for one in transaction.rcpt_tos]

    async def _examine(self, spool: Spool | Piece, transaction: Transaction) -> Reply | EachReply | None:
        size = spool.size
        if spool.too_large:
            return self._too_large(size)
        if self._faults:
            everybody = transaction.rcpt_tos
            for some in [[one] for one in everybody] if self.spec.lmtp else [everybody]:
                action = self._faults.match("smtp", site=self.spec.site, stage="message", account=",".join(some))
                if isinstance(action, Respond):
                    self._record.note(f"fault: {action}")
                    said = reply(action.code, action.enhanced, action.text)
                    transaction.refused.update(dict.fromkeys(some, said))
                elif action is not None and not await self._suffer(action):
                    return None
            if len(transaction.refused) == len(everybody):
                return transaction.refused[everybody[-1]]
        memory = self._shared.memory
        if not memory.try_grant(size):
            await memory.grant(size)
        try:
            outcome = await self._judge(self._whole(spool), transaction)
            return outcome if isinstance(outcome, Reply) else await self._hand_over(outcome)
        finally:
            memory.give_back(size)

    def _whole(self, spool: Spool | Piece) -> bytes:
        """The message in one piece: mostly that which another site is just sending us."""
        same = self._context.underway.whole(spool.size, spool.holds) if spool.size >= LARGE else None
        return spool.whole() if same is None else same

    async def _judge(self, octets: bytes, transaction: Transaction) -> Incoming | Reply:
        """The message as it may be handed over, or the refusal."""
        gate, context = self._shared.gate, self._context
        large = len(octets) >= LARGE
        known = context.underway.find(octets, leading_received(octets)) if large else None
        outcome, findings = gate.judge(octets, transaction, offers=self.conversation.offers, known=known)
        for finding in findings:
            self._record.finding(finding)
        if not isinstance(outcome, Passed):
            return outcome
        queue_id, now = context.new_id(), context.clock.now()

        def admit() -> Incoming:
            return gate.admit(
                outcome,
                findings,
                transaction,
                client=self.session,
                queue_id=queue_id,
                session_id=self._record.id,
                now=now,
            )

        if large and known is None:
            # Most of it is hashing, for which a thread needs no GIL.
            with context.clock.working():
                incoming = await asyncio.to_thread(admit)
        else:
            incoming = admit()
        add_transcript(incoming, self._record.since(self._mark))
        return incoming

    async def _hand_over(self, incoming: Incoming) -> Reply | EachReply:
        self._handing_over = True
        try:
            with self._context.clock.working():
                return await self._context.accept(incoming)
        except (StoreError, QueueError) as error:
            self._record.note(f"not stored: {error}")
            # RFC 3463 §3.4: X.3.1 mail system full, for now.
            return reply(452, "4.3.1", f"Cannot store the message now: {' '.join(str(error).split())[:200]}")
        finally:
            self._handing_over = False

    def _proceed(self, answer: Reply) -> None:
        """Answer, and go on reading commands."""
        if self._reading == "closed":
            self._record.note(f"too late to be told: {answer}")
            return
        self.say(answer)
        self._reading = "command"
        if self._stopping:
            self.stop()
        self._run()

    def _too_large(self, size: int) -> Reply:
        return reply(552, "5.3.4", f"Message of {size} octets, the limit is {self.spec.max_octets} (RFC 1870 §6.1)")

    def _create_envelope(self) -> Transaction:
        if self._spool is not None:
            self._spool.discard()  # chunks of a transaction that RSET or EHLO ended
            self._spool = None
        return super()._create_envelope()
