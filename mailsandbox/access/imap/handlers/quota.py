"""GETQUOTA and GETQUOTAROOT (RFC 9208): one root for the account, "" its name, storage its resource."""

from typing import Final

from mailsandbox.access.imap.grammar.annotations import GetQuota, GetQuotaRoot
from mailsandbox.access.imap.responses import Result, no, ok
from mailsandbox.access.imap.session import Session

ROOT: Final = ""
_UNIT: Final = 1_024  # octets, RFC 9208 §5.1: STORAGE counts in units of 1024


async def get_quota(session: Session, command: GetQuota) -> Result:
    """RFC 9208 §4.1.2."""
    limit = _limit(session)
    if command.root != ROOT or limit is None:
        return no("No such quota root", "NONEXISTENT")
    await _tell(session, limit)
    return ok("Getquota completed")


async def get_quota_root(session: Session, command: GetQuotaRoot) -> Result:
    """RFC 9208 §4.1.3. An account without a limit has no root, as a QUOTA without resources is not in the grammar."""
    # A mailbox need not exist yet: its root would be the same.
    limit = _limit(session)
    session.say(b"QUOTAROOT %b%b" % (session.name(command.mailbox), b"" if limit is None else b' ""'))
    if limit is not None:
        await _tell(session, limit)
    return ok("Getquotaroot completed")


def _limit(session: Session) -> int | None:
    spec = session.context.credentials.spec(session.account)
    return None if spec is None else spec.quota


async def _tell(session: Session, limit: int) -> None:
    _, octets = await session.context.store.octets_used(session.account)
    session.untagged(f'QUOTA "" (STORAGE {-(-octets // _UNIT)} {limit // _UNIT})')
