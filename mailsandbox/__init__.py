"""mailsandbox: two simulated mail servers, a relay between them, and every way to read what arrives.

The packages are the stations of a message's path; read them in this order.

    submit/     a client or another site hands a message over by SMTP          (aiosmtpd)
    encoding/   may these octets be accepted here? may they travel the next hop? accept, convert or refuse
    mailqueue/  one state per recipient; when to try next; who holds the lease
    relay/      one attempt at the next site, which starts again at submit     (aiosmtplib)
    deliver/    into a mailbox, or back to the sender as a delivery status notification
    store/      accounts, mailboxes, messages, and the numbered log of every change made to them
    notify/     readers wait on that log with a cursor
    access/     pop3/ and imap/ (Twisted protocols), http/ (Starlette)

What the stations share:

    database/   connections, the SQLite writer thread with group commit, schema; knows no mail
    journey/    what happened to each message at each hop, and the transcript of every connection
    faults/     scripted faults, asked by submit, relay and access before they act
    smtp/       words both SMTP sides use: replies, extensions, parameters, framing         (pure)
    message/    octets, addresses, envelope, header fields, MIME tree of byte spans         (pure)
    sasl/       authentication mechanisms, the server's side                                (pure)
    errors      the one tree of errors
    clock       system time, or a manual clock that tests advance
    standards   which RFCs are implemented, and where
    tasks       asyncio tasks that cannot be lost
    wording     what a validator says, in words for people

What joins them:

    site        stations joined for one simulated mail server; read it first; no logic
    sandbox     the sites, their links, one clock, one store
    specs       everything that can be configured, as typed values
    config/     TOML, environment and flags to typed specs; every error names file, key and line
    runtime/    event loop, background thread for synchronous users, daemon
    lab/        every delivery model on the same workload, measured side by side
    cli/        the command line: main and one file per command
    testing/    the pytest plugin and its fixtures

Upper layers may import lower ones only; pyproject.toml holds the layers and scripts/check enforces them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailsandbox.runtime.embedded import Sandbox

__all__ = ["Sandbox"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported on first use: `import mailsandbox` alone stays free of Twisted, aiosmtpd and Starlette.
    if name == "Sandbox":
        from mailsandbox.runtime.embedded import Sandbox

        return Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
