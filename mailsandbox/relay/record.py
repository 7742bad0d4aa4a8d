"""The record of one hop that was tried, as the journey shows it."""

import hashlib
from collections.abc import Sequence

import msgspec

from mailsandbox.encoding.report import edit_records
from mailsandbox.encoding.verdicts import Accept, Convert
from mailsandbox.journey.model import Attempted, EnvelopeRecord, RecipientOutcome, TranscriptLine
from mailsandbox.mailqueue.model import Done, Later, Never, Outcome, QueuedMessage
from mailsandbox.message.findings import Finding
from mailsandbox.relay.connection import Connection
from mailsandbox.relay.routes import Hop


class HopRecord(msgspec.Struct, eq=False):
    """Filled while the hop is tried, made into an `Attempted` in the end."""

    message: QueuedMessage
    hop: Hop
    started_at: float
    sha256_in: str
    outcomes: dict[str, Outcome] = {}  # of this hop
    possible_duplicate: bool = False
    _envelope: EnvelopeRecord | None = None  # as it was said
    _sent: Accept | Convert | None = None
    _findings: list[Finding] = []
    _offers: list[str] = []
    _tls: str = ""
    _octets_out: int = 0
    _sha256_out: str = ""

    def connected(self, connection: Connection) -> None:
        """What the server offers, and how it is secured."""
        self._offers = connection.offered
        self._tls = connection.tls

    def judged(self, verdict: Accept | Convert) -> None:
        """What the relay gate said."""
        self._sent = verdict
        self._findings = list(verdict.findings)

    def refused(self, findings: Sequence[Finding]) -> None:
        """The relay gate let nothing pass."""
        self._findings = list(findings)

    def said(self, mail: dict[str, str], recipients: dict[str, dict[str, str]], reverse_path: str) -> None:
        """The envelope as it went over the wire; of several transactions all recipients, once each."""
        shown = {address: parameters for address, parameters in recipients.items() if parameters}
        everybody = list(recipients)
        if (before := self._envelope) is not None:
            everybody = list(dict.fromkeys((*before.recipients, *recipients)))
            shown = before.recipient_parameters | shown
        self._envelope = EnvelopeRecord(reverse_path, everybody, mail, shown)

    def sent(self, octets: bytes) -> None:
        """The message data went out."""
        self._octets_out = len(octets)
        same = octets is self.message.octets
        self._sha256_out = self.sha256_in if same else hashlib.sha256(octets).hexdigest()

    def finish(self, transcript: list[TranscriptLine], *, ended_at: float) -> Attempted:
        """The record."""
        message, sent = self.message, self._sent
        envelope = self._envelope or EnvelopeRecord(message.envelope.reverse_path, list(self.outcomes))
        edits = sent.edits if sent is not None else ()
        return Attempted(
            site=message.site,
            queue_id=message.queue_id,
            number=message.attempt,
            started_at=self.started_at,
            ended_at=ended_at,
            host=self.hop.host,
            address=self.hop.place if self.hop.address else "",
            offers=self._offers,
            tls=self._tls,
            envelope=envelope,
            octets_in=len(message.octets),
            sha256_in=self.sha256_in,
            octets_out=self._octets_out,
            sha256_out=self._sha256_out,
            body=sent.body if sent is not None else "",
            findings=self._findings,
            edits=edit_records(message.octets, edits) if edits else [],
            outcomes=[_outcome_record(address, outcome) for address, outcome in self.outcomes.items()],
            possible_duplicate=self.possible_duplicate,
            transcript=transcript,
        )


def _outcome_record(address: str, outcome: Outcome) -> RecipientOutcome:
    match outcome:
        case Done(relayed=relayed, local=local):
            word = "delivered" if local and not relayed else "relayed"
        case Later():
            word = "deferred"
        case Never():
            word = "failed"
    return RecipientOutcome(address, word, str(outcome.reply), outcome.reply.enhanced)
