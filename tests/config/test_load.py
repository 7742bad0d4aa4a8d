"""Configuration: what may be written, and what an error says."""

import dataclasses
from pathlib import Path

import pytest

from mailsandbox.config import load, parse
from mailsandbox.errors import ConfigError
from mailsandbox.specs import SandboxSpec

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_annotated_file_loads(path):
    load(path)


def test_the_default_file_says_what_happens_without_one():
    assert load(CONFIGS[[path.stem for path in CONFIGS].index("default")]) == load() == SandboxSpec()


def test_a_file_overrides_a_key_and_keeps_the_rest():
    spec = parse('[sites.beta]\nreceive = "lenient"\n')
    assert [site.name for site in spec.sites] == ["alpha", "beta"]
    assert spec.sites[1] == dataclasses.replace(SandboxSpec().sites[1], receive="lenient")


def test_a_site_can_be_added():
    spec = parse('[sites.gamma]\nsmtp = 2600\noffers = ["8BITMIME"]\n')
    assert spec.sites[2].domain == "gamma.test"
    assert spec.sites[2].offers == ("8BITMIME",)


def test_the_environment_overrides_the_file():
    spec = parse(
        "[access]\nimap = 1\npop3 = 2\n",
        environ={"MAILSANDBOX_ACCESS_IMAP": "3", "MAILSANDBOX_SITES_ALPHA_RECEIVE": "strict", "HOME": "/x"},
    )
    assert (spec.access.imap, spec.access.pop3) == (3, 2)
    assert spec.sites[0].receive == "strict"


def test_variables_of_the_command_line_are_not_configuration():
    assert parse("", environ={"MAILSANDBOX_READY_FILE": "/x", "MAILSANDBOX_URL": "http://x"}) == SandboxSpec()


def test_units_are_understood():
    spec = parse(
        '[accounts]\n"Bob@Beta.test" = { quota = "50 MB", password = "x" }\n'
        '[relay]\nretry = { first = "30s", lifetime = "2d" }\n[store]\nmax_octets = "1 KiB"\n'
    )
    assert spec.credentials.specs["bob@beta.test"].quota == 50_000_000
    assert (spec.relay.retry.first, spec.relay.retry.lifetime, spec.relay.retry.limit) == (30.0, 172800.0, 14400.0)
    assert spec.retention.each.octets == 1024


@pytest.mark.parametrize(
    ("text", "line", "key", "right"),
    [
        ("[access]\n\nimpa = 1\n", 3, "access.impa", "did you mean imap?"),
        ("[acces]\nimap = 1\n", 1, "acces", "did you mean access?"),
        ('[access]\nimap = "x"\n', 2, "access.imap", "expected a whole number, got text"),
        ("[access]\nimap = 70000\n", 2, "access.imap", "is not a port"),
        ('[sites.alpha]\nreceive = "harsh"\n', 2, "sites.alpha.receive", "strict, lenient, normalize"),
        ('[sites.beta]\ndomain = "alpha.test"\n', 2, "sites.beta.domain", "another site's domain"),
        ('[relay]\ntls = "maybe"\n', 2, "relay.tls", "opportunistic"),
        ('[relay]\nallow = ["10.0.0.0/33"]\n', 2, "relay.allow", "write a network"),
        ('[relay]\nretry = { first = "soon" }\n', 2, "relay.retry.first", '"30s"'),
        ('[relay]\nretry = { frist = "1s" }\n', 2, "relay.retry.frist", "did you mean first?"),
        ('[clock]\nmode = "fast"\n', 2, "clock.mode", "system, manual"),
        ("[accounts]\nbob = {}\n", 2, "accounts.bob", "named by its address"),
        ('[accounts]\n"b@x" = { quota = "many" }\n', 2, 'accounts."b@x".quota', '"50 MB"'),
        ('[zone]\n"a.test" = { MX = ["mx.a.test"] }\n', 2, 'zone."a.test"', "10 mx1.a.test"),
        ('[[routes]]\ndomain = "a"\n', 1, "routes", "host is missing"),
        ('[tls]\ncertificate = "x.pem"\n', 1, "tls", "together"),
        ("[store]\nmax_messages = 0\n", 2, "store.max_messages", "at least 1"),
        ("[store]\nmax_messages = -1\n", 2, "store.max_messages", "at least 1"),
        ('[store]\nmax_age = "0s"\n', 2, "store.max_age", "leave it out for no limit"),
        ("[store]\ntotal_octets = -5\n", 2, "store.total_octets", "is not a size"),
        ("[store]\ntotal_octets = 0\n", 2, "store.total_octets", "leave it out for no limit"),
        ("[relay]\nconcurrency = 0\n", 2, "relay.concurrency", "at least 1"),
        ('[server]\nhost = "example.org"\n', 2, "server.host", "not an IP address"),
    ],
)
def test_an_error_names_file_line_key_and_what_would_be_right(text, line, key, right):
    with pytest.raises(ConfigError) as caught:
        parse(text, name="box.toml")
    assert str(caught.value).startswith(f"box.toml:{line}: {key}: ")
    assert right in str(caught.value)


def test_text_that_is_not_toml_names_the_line():
    with pytest.raises(ConfigError, match=r"box\.toml: not valid TOML: .*line 2"):
        parse("[access]\nimap ==\n", name="box.toml")


def test_an_unknown_variable_is_an_error_with_what_was_meant():
    with pytest.raises(ConfigError, match="MAILSANDBOX_ACCESS_IMPA: unknown key; did you mean ACCESS_IMAP"):
        parse("", environ={"MAILSANDBOX_ACCESS_IMPA": "1"})


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"/nonexistent/box\.toml: cannot be read: No such file"):
        load(Path("/nonexistent/box.toml"))


EXTRA = "[sites.alpha.listeners.x]\nport = 0\n"


@pytest.mark.rfc(5321, "4.1.2")
@pytest.mark.parametrize("domain", ["not a domain", "", "a..test", "-a.test", "a_b.test", "[127.0.0.1", "x" * 64])
def test_a_site_is_named_by_a_domain(domain):
    with pytest.raises(ConfigError, match=r"^box\.toml:3: sites\.alpha\.domain: .*cannot be greeted with"):
        parse(f'[sites.alpha]\n\ndomain = "{domain}"\n', name="box.toml")


@pytest.mark.parametrize("domain", ["alpha", "[127.0.0.1]", "[IPv6:::1]", "mx-1.alpha.test"])
def test_a_label_or_an_address_literal_is_a_domain_too(domain):
    assert parse(f'[sites.alpha]\ndomain = "{domain}"\n').sites[0].domain == domain.lower()  # ABNF: "IPv6:" in any case


@pytest.mark.rfc(5321, "2.4")
def test_a_domain_is_the_same_in_capitals():
    assert parse('[sites.alpha]\ndomain = "Alpha.TEST"\n').sites[0].domain == "alpha.test"
    with pytest.raises(ConfigError, match=r"alpha\.test is another site's domain"):
        parse('[sites.beta]\ndomain = "ALPHA.test"\n')


def test_a_site_whose_name_makes_no_domain_needs_one():
    with pytest.raises(ConfigError, match=r"^box\.toml:1: sites\.my_site\.domain: 'my_site\.test'"):
        parse("[sites.my_site]\nsmtp = 0\n", name="box.toml")
    assert parse('[sites.my_site]\ndomain = "my.test"\n').sites[2].domain == "my.test"


SHUT = [
    ('[sites.alpha]\noffers = ["BINARYMIME"]\n', 2, "sites.alpha.offers", "RFC 3030 §3"),
    ('[sites.alpha]\nsubmission_offers = ["BINARYMIME"]\n', 2, "sites.alpha.submission_offers", "RFC 3030 §3"),
    (f'{EXTRA}offers = ["binarymime"]\n', 3, "sites.alpha.listeners.x.offers", "RFC 3030 §3"),
    ("[sites.alpha]\ntls_required = true\n", 2, "sites.alpha.tls_required", "alpha.smtp does not offer STARTTLS"),
    (f"{EXTRA}tls_required = true\n", 3, "sites.alpha.listeners.x.tls_required", "does not offer STARTTLS"),
    ('[sites.alpha]\nauth = "required"\nmechanisms = []\n', 3, "sites.alpha.mechanisms", "nobody could send"),
    (
        '[sites.alpha]\nauth = "required"\nmechanisms = ["CRAM-MD5"]\n',
        3,
        "sites.alpha.mechanisms",
        "accounts with a password; alpha.submission requires AUTH",
    ),
    (
        f'{EXTRA}auth = "required"\nmechanisms = []\n',
        4,
        "sites.alpha.listeners.x.mechanisms",
        "none is named; alpha.x requires AUTH (RFC 4954 §6), so that nobody could send",
    ),
    (
        f'{EXTRA}auth = "required"\nauth_needs_tls = true\n',
        4,
        "sites.alpha.listeners.x.auth_needs_tls",
        "add STARTTLS to offers",
    ),
    (
        "[sites.beta]\ncheck_sender = true\n",
        2,
        "sites.beta.check_sender",
        "no effect with a site that has no submission with AUTH",
    ),
    (f"{EXTRA}check_sender = true\n", 3, "sites.alpha.listeners.x.check_sender", "with a listener of kind smtp"),
    (
        f'{EXTRA}kind = "submission"\nauth = "off"\ncheck_sender = true\n',
        5,
        "sites.alpha.listeners.x.check_sender",
        'no effect with auth = "off"',
    ),
]


@pytest.mark.parametrize(("text", "line", "key", "said"), SHUT, ids=[f"{row[2]} {row[1]}" for row in SHUT])
def test_settings_that_contradict_each_other_are_an_error(text, line, key, said):
    with pytest.raises(ConfigError) as caught:
        parse(text, name="box.toml")
    assert str(caught.value).startswith(f"box.toml:{line}: {key}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[sites.alpha]\noffers = ["CHUNKING", "BINARYMIME"]\n',
        '[sites.alpha]\ntls_required = true\noffers = ["STARTTLS"]\n',
        f'{EXTRA}kind = "submissions"\ntls_required = true\nauth_needs_tls = true\nauth = "required"\noffers = []\n',
        f'{EXTRA}auth = "off"\nmechanisms = []\n',
        f'{EXTRA}auth = "required"\nmechanisms = []\ntrusted_peers = ["127.0.0.1"]\n',  # by XCLIENT LOGIN
        '[accounts]\n"b@beta.test" = { password = "p" }\n[sites.alpha]\nauth = "required"\nmechanisms = ["CRAM-MD5"]\n',
        f'{EXTRA}kind = "submission"\ncheck_sender = false\n',
        "[sites.beta]\nsubmission = 0\nauth = 'offered'\ncheck_sender = false\n",
    ],
)
def test_settings_that_can_be_met_are_none(text):
    parse(text)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SITES_ALPHA_SMTP", "abc", "sites.alpha.smtp: expected a whole number, got text"),
        ("SITES_ALPHA_RECEIVE", "harsh", "sites.alpha.receive: 'harsh' is not one of strict"),
        ("SITES_ALPHA_OFFERS", '["SIZE x"]', "sites.alpha.offers: 'SIZE x': a number may follow SIZE"),
        ("ACCESS_IMAP", "70000", "access.imap: 70000 is not a port"),
        ("RELAY_RETRY_FIRST", "soon", "relay.retry.first: "),
        ("RELAY_DEFAULT_ROUTE", "gamma", "relay.default_route: there is no site 'gamma'; there are alpha, beta"),
    ],
)
def test_a_wrong_variable_is_named_and_not_the_file(variable, value, said):
    text = "[sites.alpha]\nsmtp = 1025\n[relay]\ndefault_route = 'beta'\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, name="box.toml", environ={f"MAILSANDBOX_{variable}": value})
    assert str(caught.value).startswith(f"environment: MAILSANDBOX_{variable}: {said}")


def test_a_wrong_value_of_the_file_is_not_blamed_on_a_variable():
    with pytest.raises(ConfigError, match=r"^box\.toml:2: access\.imap"):
        parse("[access]\nimap = 'x'\n", name="box.toml", environ={"MAILSANDBOX_ACCESS_POP3": "0"})
    with pytest.raises(ConfigError, match=r"tls: .* together \(with MAILSANDBOX_TLS_KEY of the environment\)"):
        parse("", name="box.toml", environ={"MAILSANDBOX_TLS_KEY": "key.pem"})


def test_a_default_route_to_no_site_names_file_and_line():
    with pytest.raises(ConfigError, match=r"^box\.toml:2: relay\.default_route: there is no site 'gamma'"):
        parse('[relay]\ndefault_route = "gamma"\n', name="box.toml")
    assert parse('[relay]\ndefault_route = "gamma"\n[sites.gamma]\nsmtp = 0\n').relay.default_route == "gamma"
