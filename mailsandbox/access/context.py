"""What the POP3, IMAP and HTTP servers are given: the store and what goes with it. Made once per sandbox."""

import ssl
from dataclasses import dataclass, field

from mailsandbox.access.login import LoginPolicy, Logins
from mailsandbox.clock import Clock
from mailsandbox.faults import Faults
from mailsandbox.journey.sessions import SessionLog
from mailsandbox.notify import Hub
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.journeys import JourneyLedger
from mailsandbox.store.store import Store


@dataclass(slots=True)
class AccessContext:
    """`tls` None: no STARTTLS and STLS. `logins` is made from the rest; POP3 and IMAP share its memory of failures."""

    store: Store
    hub: Hub
    credentials: Credentials
    clock: Clock
    sessions: SessionLog
    ledger: JourneyLedger
    faults: Faults
    tls: ssl.SSLContext | None = None
    hostname: str = "localhost"
    login_policy: LoginPolicy = field(default_factory=LoginPolicy)
    logins: Logins = field(init=False)

    def __post_init__(self) -> None:
        self.logins = Logins(
            self.credentials, ensure=self.store.ensure_account, clock=self.clock, policy=self.login_policy
        )
