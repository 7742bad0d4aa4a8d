"""A specification back to the tables of the configuration file: what is in force, in words that can be loaded again."""

from mailsandbox.config.contradictions import checks_senders
from mailsandbox.specs import SandboxSpec, SiteSpec
from mailsandbox.store.retention import Limits

Tables = dict[str, object]
SECRET = "***"


def tables(spec: SandboxSpec) -> Tables:
    """By the names of the file; what is off or not set is left out; passwords are hidden."""
    return {
        "server": _given(host=spec.host, data=spec.data and str(spec.data), database=spec.database),
        "clock": {"mode": "manual" if spec.manual_clock else "system"},
        "accounts": _accounts(spec),
        "aliases": {
            address: {"members": list(alias.members), "owner": alias.owner} if alias.owner else list(alias.members)
            for address, alias in spec.aliases.items()
        },
        "sites": {site.name: _site(site) for site in spec.sites},
        "relay": _relay(spec),
        "routes": [
            _given(
                domain=route.domain,
                host=route.host,
                port=route.port,
                lmtp=route.lmtp,
                tls=route.tls,
                implicit_tls=route.implicit_tls,
                login=route.login and {"name": route.login.name, "password": SECRET},
            )
            for route in spec.routes
        ],
        "zone": {name: dict(records) for name, records in spec.zone.items()},
        "access": _access(spec),
        "store": _store(spec),
        "tls": _given(certificate=str(spec.tls.certificate), key=str(spec.tls.key)) if spec.tls else {},
    }


def _given(**values: object) -> Tables:
    return {key: value for key, value in values.items() if value is not None}


def _seconds(period: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if period >= size and period % size == 0:
            return f"{int(period // size)}{unit}"
    return f"{period:g}s"


def _accounts(spec: SandboxSpec) -> Tables:
    accounts: Tables = {"any": spec.credentials.any_account}
    for address, account in spec.credentials.specs.items():
        secret = SECRET if account.password is not None else None
        accounts[address] = _given(password=secret, quota=account.quota, personality=account.personality)
    return accounts


def _site(site: SiteSpec) -> Tables:
    return _given(
        domain=site.domain,
        accepts=site.accepts,
        emulate=site.emulate,
        submission_offers=list(site.submission_offers),
        smtp=site.smtp,
        submission=site.submission,
        submissions=site.submissions,
        lmtp=site.lmtp,
        **_settings(site, senders=checks_senders(site)),
        listeners={
            one.name: _given(
                kind=one.kind,
                port=one.port,
                socket=one.socket or None,
                **_settings(one.settings, senders=checks_senders(one.settings, one.kind)),
            )
            for one in site.listeners
        }
        or None,
    )


def _settings(site: SiteSpec, *, senders: bool) -> Tables:
    return _given(
        receive=site.receive,
        offers=list(site.offers),
        auth=site.auth,
        mechanisms=None if site.mechanisms is None else list(site.mechanisms),
        auth_needs_tls=site.auth_needs_tls,
        tls_required=site.tls_required,
        enhanced_codes=site.enhanced_codes,
        vrfy=site.vrfy,
        expn=site.expn,
        check_sender=site.check_sender if senders else None,
        greylist=None if site.greylist is None else _seconds(site.greylist),
        trusted_peers=list(site.trusted_peers),
        proxy_peers=list(site.proxy_peers),
        max_recipients=site.max_recipients,
        max_connections=site.max_connections,
        max_connections_per_peer=site.max_connections_per_peer,
        max_messages=site.max_messages,
        max_errors=site.max_errors,
        command_time=_seconds(site.command_time),
        message_time=_seconds(site.message_time),
        greeting_delay=_seconds(site.greeting_delay),
    )


def _relay(spec: SandboxSpec) -> Tables:
    relay, retry = spec.relay, spec.relay.retry
    return {
        "tls": relay.tls,
        "allow": list(relay.allow),
        "concurrency": relay.concurrency,
        "break_signatures": relay.break_signatures,
        "unlabelled": relay.unlabelled,
        "default_route": relay.default_route,
        "retry": {
            "first": _seconds(retry.first),
            "factor": retry.factor,
            "jitter": retry.jitter,
            "limit": _seconds(retry.limit),
            "lifetime": _seconds(retry.lifetime),
            "warn": _seconds(retry.warn),
        },
    }


def _access(spec: SandboxSpec) -> Tables:
    access = spec.access
    return _given(
        pop3=access.pop3,
        pop3s=access.pop3s,
        imap=access.imap,
        imaps=access.imaps,
        http=access.http,
        hosts=sorted(access.hosts),
        capabilities_off=sorted(access.capabilities_off),
        pop3_delete=access.pop3_delete,
        append_limit=access.append_limit,
    )


def _store(spec: SandboxSpec) -> Tables:
    def limits(which: str, of: Limits) -> Tables:
        age = None if of.age is None else _seconds(of.age)
        return _given(**{f"{which}_messages": of.messages, f"{which}_age": age, f"{which}_octets": of.octets})

    kept = spec.retention
    return {
        **limits("max", kept.each),
        **limits("total", kept.total),
        "changes_kept": kept.changes,
        "changes_age": _seconds(kept.changes_age),
        "journeys_age": _seconds(kept.journey_age),
    }
