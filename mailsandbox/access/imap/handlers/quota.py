"""GETQUOTA and GETQUOTAROOT (RFC 9208): one root for the account, "" its name, storage its resource."""

from typing import Final

from mailsandbox.access.imap.grammar.annotations import GetQuota, GetQuotaRoot
from mailsandbox.access.imap.responses import Result, no, ok
from mailsandbox.access.imap.session import Session

ROOT: Final = ""
_UNIT: Final = 1_024  # octets, RFC 9208 §5.1: STORAGE counts in units of 1024


async def get_quota(session: Session, command: GetQuota) -> Result:
    """RFC 9208 §4.1.2."""
    if command.root != ROOT:
        return no("No such quota root", "NONEXISTENT")
    await _tell(session)
    return ok("Getquota completed")


async def get_quota_root(session: Session, command: GetQuotaRoot) -> Result:
    """RFC 9208 §4.1.3."""
    # A mailbox need not exist yet: its root would be the same.
    session.say(b'QUOTAROOT %b ""' % session.name(command.mailbox))
    await _tell(session)
    return ok("Getquotaroot completed")


async def _tell(session: Session) -> None:
    spec = session.context.credentials.spec(session.account)
    _, octets = await session.context.store.octets_used(session.account)
    if spec is None or spec.quota is None:
        session.untagged('QUOTA "" ()')  # RFC 9208 §4.2.1: no limits, no resources
        return
    session.untagged(f'QUOTA "" (STORAGE {-(-octets // _UNIT)} {spec.quota // _UNIT})')
