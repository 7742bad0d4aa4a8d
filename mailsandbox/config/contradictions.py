"""Settings that are right each by itself and contradict each other: a listener at which nobody could ever send.

Knows the settings of one site, not what is done with them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mailsandbox.config.source import Source
from mailsandbox.sasl import mechanisms
from mailsandbox.smtp.paths import check_domain
from mailsandbox.specs import SiteSpec
from mailsandbox.store.credentials import Credentials


class _Door(NamedTuple):
    """One listener as it comes to be; `path`: where its settings are written."""

    name: str
    kind: str
    settings: SiteSpec
    offers: frozenset[str]  # keywords
    auth: str
    path: tuple[str, ...]


def refuse_contradictions(site: SiteSpec, credentials: Credentials, source: Source) -> None:
    """Raises ConfigError that names the key, and what would be right."""
    path = ("sites", site.name)
    if (bad := check_domain(site.domain)) is not None:
        raise source.error((*path, "domain"), f"{site.domain!r} cannot be greeted with: {bad.reason}")
    for door in _doors(site, path):
        _check_offers(door, source)
        _check_tls(door, source)
        _check_auth(door, credentials, source)


def refuse_idle_check(site: SiteSpec, *, given: bool, kind: str = "", path: tuple[str, ...], source: Source) -> None:
    """`check_sender` was given where no listener asks: it would seem to protect something."""
    if not given or checks_senders(site, kind):
        return
    where = f"a listener of kind {kind}" if kind else "a site that has no submission with AUTH"
    if kind.startswith("submission"):
        where = 'auth = "off"'
    text = f"has no effect with {where}: it is a submission server that compares the reverse-path with the login"
    raise source.error((*path, "check_sender"), f"{text} (RFC 6409 §6.1)")


def checks_senders(site: SiteSpec, kind: str = "") -> bool:
    """Whether a listener of that kind, or else any of the site's, has a login to compare the reverse-path with."""
    if kind:
        return kind.startswith("submission") and site.auth != "off"
    return any(checks_senders(door.settings, door.kind) for door in _doors(site, ()))


def _doors(site: SiteSpec, path: tuple[str, ...]) -> Iterator[_Door]:
    own = (
        ("smtp", site.smtp, site.offers),
        ("submission", site.submission, site.submission_offers),
        ("submissions", site.submissions, site.submission_offers),
        ("lmtp", site.lmtp, site.offers),
    )
    for kind, place, offers in own:
        if place is not None:
            # A site's own SMTP listener is for servers, which can not be asked for a login.
            auth = "offered" if (kind, site.auth) == ("smtp", "required") else site.auth
            yield _Door(f"{site.name}.{kind}", kind, site, _keywords(offers), auth, path)
    for one in site.listeners:
        offered, below = _keywords(one.settings.offers), (*path, "listeners", one.name)
        yield _Door(f"{site.name}.{one.name}", one.kind, one.settings, offered, one.settings.auth, below)


def _keywords(offers: tuple[str, ...]) -> frozenset[str]:
    return frozenset(offer.split()[0].upper() for offer in offers if offer.strip())


def _check_offers(door: _Door, source: Source) -> None:
    if "BINARYMIME" in door.offers and "CHUNKING" not in door.offers:
        text = f"{door.name} would offer BINARYMIME without CHUNKING, by which alone it can be sent: name both"
        raise source.error((*door.path, _offers_key(door)), f"{text} (RFC 3030 §3)")


def _offers_key(door: _Door) -> str:
    """The key that its offers were written under; those of submission may be those of the whole site."""
    of_site = "listeners" not in door.path and door.kind.startswith("submission")
    return "submission_offers" if of_site and door.settings.submission_offers != door.settings.offers else "offers"


def _reaches_tls(door: _Door) -> bool:
    return door.kind == "submissions" or "STARTTLS" in door.offers


def _check_tls(door: _Door, source: Source) -> None:
    if door.settings.tls_required and not _reaches_tls(door):
        # RFC 3207 §4: 530 to every MAIL, and no way to do what it asks for.
        text = f"{door.name} does not offer STARTTLS, so that nobody could send by it: add it to {_offers_key(door)}"
        raise source.error((*door.path, "tls_required"), f"{text} (RFC 3207 §4)")


def _check_auth(door: _Door, credentials: Credentials, source: Source) -> None:
    settings = door.settings
    if door.auth != "required" or settings.trusted_peers:  # those may name a login by XCLIENT
        return
    known = mechanisms(credentials, tls=True)
    allowed = known if settings.mechanisms is None else settings.mechanisms
    nobody = f"{door.name} requires AUTH (RFC 4954 §6), so that nobody could send by it"
    if not set(known).intersection(allowed):
        why = "those named need accounts with a password" if allowed else "none is named"
        text = f"no mechanism would be offered: {why}; {nobody}. Here there are {', '.join(known)}"
        raise source.error((*door.path, "mechanisms"), text)
    if settings.auth_needs_tls and not _reaches_tls(door):
        text = f"{door.name} does not offer STARTTLS and so no mechanism; {nobody}: add STARTTLS to {_offers_key(door)}"
        raise source.error((*door.path, "auth_needs_tls"), text)
