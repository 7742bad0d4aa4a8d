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
