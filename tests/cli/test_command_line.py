"""The frame: help, exit codes, errors as sentences, what is imported."""

import gc
import json
import logging
import subprocess
import sys

import pytest

from mailsandbox.cli.daemon import default_ready_file
from mailsandbox.cli.main import COMMANDS
from mailsandbox.errors import StartError
from mailsandbox.runtime.daemon import quiet_aiosmtpd
from mailsandbox.runtime.ready_file import write_ready_file


def test_help_names_every_command_with_its_summary(run):
    ran = run("--help")
    assert ran.code == 0
    for name in COMMANDS:
        assert f"  {name} " in ran.out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_exists_and_explains_itself(run, name):
    ran = run(name, "--help")
    assert ran.code == 0
    assert "Usage: mailsandbox " in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["list", "--url", "ftp://x"],
        ["list", "--nonsense"],
        ["show"],
        ["wait", "a@b.test", "--timeout", "soon"],
        ["send", "--to", "a@b.test"],
        ["send", "--subject", "x"],
        ["send", "--to", "a@b.test", "--eml", "x.eml", "--text", "x"],
        ["serve", "--memory", "--data", "x"],
        ["watch", "a@b.test", "--via", "pigeon"],
        ["demo", "--via", "pigeon"],
        ["wait", "a@b.test", "--subject", "("],
        ["queue", "retry"],
    ],
)
def test_wrong_use_is_exit_code_two_with_a_sentence(run, arguments):
    ran = run(*arguments)
    assert ran.code == 2
    usage, hint, empty, said = ran.err.removesuffix("\n").rsplit("\n", 3)
    assert usage.startswith("Usage: mailsandbox ")
    assert hint.startswith("Try 'mailsandbox ")
    assert (hint.endswith(" --help' for help."), empty) == (True, "")
    assert said.startswith("mailsandbox: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "a@b.test"],
        ["show", "1-1"],
        ["queue"],
        ["journey", "X"],
        ["wait", "a@b.test"],
        ["raw", "1-1"],
        ["sessions"],
    ],
)
def test_without_a_daemon_a_client_says_how_to_start_one(run, arguments):
    ran = run(*arguments, "--url", "http://127.0.0.1:9")
    assert ran.code == 1
    assert "no daemon answers at http://127.0.0.1:9 (Connection refused); start one with `mailsandbox serve`" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "9-9"], 1, "there is no message '9-9'"),  # a refusal of the daemon
        (["queue", "retry", "Q1", "Q2"], 1, "there is no /v1/queue/Q2/retry"),
        (["clock", "advance", "soon"], 2, "no such period"),
        (["raw", "9-9", "--part", "7"], 1, "there is no /v1/messages/9-9/parts/7"),
        (
            ["list", "no@beta.test"],
            1,
            "there is no account no@beta.test: it comes into being with its first message or login",
        ),
        (["list", "--url", "http://127.0.0.1:9"], 1, "no daemon answers at http://127.0.0.1:9 (Connection refused)"),
        (["send", "--to", "a@b.test", "--eml", "/nowhere.eml"], 1, "/nowhere.eml: cannot be read"),
        (["import", "/etc/hostname"], 1, "/etc/hostname"),
        (["check", "/nowhere.eml"], 2, "Invalid value for"),
        (["config", "/nowhere.toml"], 2, "/nowhere.toml"),  # errors of ours, which click does not know
        (["serve", "--config", "/nowhere.toml"], 2, "/nowhere.toml"),
        (["serve", "--data", "/proc/mailsandbox", "--ephemeral"], 1, "data directory /proc/mailsandbox"),
        (["reindex", "--data", "/nowhere"], 1, "/nowhere"),
        (["list", "--nonsense"], 2, "No such option '--nonsense'"),  # click's own
        (["wait"], 2, "Missing argument"),
        (["lsit"], 2, "there is no command 'lsit'"),
    ],
)
def test_every_failure_is_told_in_one_style(run, scripted, tmp_path, arguments, code, said):
    scripted.answers["GET", "/v1/messages/9-9"] = 404, {"detail": "there is no message '9-9'"}
    problem = {"type": "tag:mailsandbox,2026:wrong-value", "title": "Wrong value", "detail": "no such period"}
    scripted.answers["POST", "/v1/clock/advance"] = 422, problem
    scripted.answers["GET", "/v1/accounts"] = 200, {"accounts": []}
    scripted.answers["GET", "/v1/messages"] = 200, {"messages": [], "next": None}
    if arguments[:1] == ["serve"]:
        arguments = [*arguments, "--ready-file", tmp_path / "r.json"]
    ran = run(*arguments)
    gc.enable()  # which a daemon that was about to start had turned off
    lines = ran.err.splitlines()
    told = [line for line in lines if line.startswith("mailsandbox: ")]
    assert ran.code == code
    assert told[-1] == lines[-1]
    assert said in told[-1]
    assert not [line for line in lines if "Error: " in line or line.startswith("Traceback")]


def test_a_command_that_is_none_is_told_what_was_meant(run):
    assert run("lsit").err.endswith("mailsandbox: there is no command 'lsit'; did you mean list?\n")
    assert json.loads(run("lsit", "--json").err)["error"]["code"] == "wrong-use"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["nonsense"], "wrong-use"), (["list", "--url", "http://127.0.0.1:9"], "no-daemon"),
     (["config", "/nowhere.toml"], "wrong-configuration"), (["import", "/etc/hostname"], "failed")],
)  # fmt: skip
def test_an_error_under_json_is_one_json_object_with_a_code(run, arguments, code):
    ran = run(*arguments, "--json")
    assert ran.out == ""
    assert ran.code in (1, 2)
    error = json.loads(ran.err)["error"]
    assert error["code"] == code
    assert error["message"]


def test_json_after_two_dashes_is_no_option(run):
    assert "mailsandbox: " in run("list", "--nonsense", "--", "--json").err


@pytest.mark.parametrize("arguments", [["--help"], ["standards"], ["config", "--json"]])
def test_a_reader_that_left_before_anything_came_is_no_error(arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "mailsandbox", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def modules_after(*arguments: str) -> set[str]:
    script = (
        "import sys; from mailsandbox.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "--url", "http://127.0.0.1:9"],
        ["show", "1-1", "--url", "http://127.0.0.1:9"],
        ["journey", "1", "--url", "http://127.0.0.1:9"],
        ["send", "--to", "a@b.test", "--text", "x", "--server", "127.0.0.1:9"],
        ["wait", "a@b.test", "--url", "http://127.0.0.1:9"],
        ["config"],
        ["standards"],
    ],
)
def test_client_commands_import_no_server_library(arguments):
    loaded = modules_after(*arguments)
    assert not loaded & {"twisted", "starlette", "uvicorn", "aiosmtpd", "sqlite3", "cryptography"}


def test_help_imports_click_and_nothing_else_of_others():
    assert not modules_after("--help") & {"httpx", "msgspec", "rich", "aiosmtplib", "asyncio"}


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "mailsandbox", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("mailsandbox, version ")


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m mailsandbox standards | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("STANDARD")
    assert done.stderr == ""


def test_a_wrong_configuration_is_named_with_file_and_key(run, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text("[access]\nimpa = 1143\n")
    ran = run("config", path)
    assert ran.code == 2
    assert "wrong.toml" in ran.err
    assert "impa" in ran.err


def test_the_effective_configuration_is_printed_without_passwords(run, tmp_path):
    path = tmp_path / "right.toml"
    path.write_text(
        '[accounts]\n"bob@beta.test" = { password = "very secret", quota = "50 MB" }\n[access]\nimap = 2143\n'
    )
    ran = run("config", path, "--json")
    assert ran.code == 0
    assert ran.json["access"]["imap"] == 2143
    assert ran.json["accounts"]["bob@beta.test"] == {
        "password": "***",
        "quota": 50_000_000,
        "personality": "",
    }
    shown = run("config", path).out
    assert "imap = 2143" in shown
    assert "very secret" not in shown


def test_the_environment_overrides_the_file(run, monkeypatch):
    monkeypatch.setenv("MAILSANDBOX_ACCESS_IMAP", "3143")
    assert run("config", "--json").json["access"]["imap"] == 3143


def test_standards_are_chosen_by_words(run):
    assert "RFC 5321" in run("standards").out
    chosen = run("standards", "imap", "--json").json
    assert {"RFC 9051", "RFC 2177"} <= {row["id"] for row in chosen}
    assert all("imap" in f"{row['title']} {row['packages']}".lower() for row in chosen)
    assert run("standards", "no such thing").code == 1


@pytest.mark.parametrize("address", ["a b@@c", "@beta.test", "bob beta"])
def test_an_address_that_is_none_is_wrong_use_and_is_quoted_as_it_was_typed(run, address):
    ran = run("send", "--to", address, "--text", "x", "--server", "127.0.0.1:1")
    assert ran.code == 2
    assert repr(address) in ran.err


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ((), "--ephemeral for its own ports and --ready-file to reach it"),
        (("--ephemeral",), "--ready-file to reach it"),
    ],
)
def test_a_second_daemon_is_told_only_the_options_that_it_lacks(run, monkeypatch, options, missing):
    write_ready_file(default_ready_file(), {"http": "127.0.0.1:9"})  # of this process, which lives
    monkeypatch.setattr("mailsandbox.runtime.daemon.serve", lambda *_, **__: None)
    ran = run("serve", *options)
    gc.enable()  # which the daemon does when it is ready
    assert ran.code == 0
    assert f"give this one {missing} by commands" in ran.err


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ("", "any login and any password is right; Ctrl-C"),
        (
            '"b@beta.test" = { password = "p" }',
            "any login is right, and any password but where",
        ),
        ('any = false\n"b@beta.test" = { password = "p" }', "only the 1 account of the configuration can log in"),
        ("any = false", "nobody can log in: the configuration names no account"),
    ],
)
def test_the_banner_says_who_can_log_in(run, monkeypatch, tmp_path, accounts, said):
    (tmp_path / "box.toml").write_text(f"[accounts]\n{accounts}\n[sites.beta]\ndomain = 'beta.test'\n")
    monkeypatch.setattr("mailsandbox.runtime.daemon.serve", lambda *_, announce, **__: announce({"http": "here"}))
    ran = run("serve", "--config", tmp_path / "box.toml")
    gc.enable()
    assert said in ran.out


def test_the_banner_says_what_each_listener_offers(run, monkeypatch, tmp_path):
    config = tmp_path / "box.toml"
    config.write_text(
        """
        [sites.alpha]
        offers = ["PIPELINING"]
        lmtp = 0
        listeners.bare = { port = 0, auth = "off" }
        listeners.own = { port = 0, kind = "submission", offers = ["STARTTLS"], auth_needs_tls = true }
        listeners.safe = { port = 0, offers = ["STARTTLS"], tls_required = true, mechanisms = ["PLAIN"] }
        listeners.here = { socket = "/tmp/here", kind = "lmtp" }
        listeners.pop3 = { port = 0, auth_needs_tls = true }
        listeners.old = { port = 0, mechanisms = ["CRAM-MD5"] }
        """
    )
    own = ("smtp", "submission", "submissions", "lmtp", "bare", "own", "safe", "here", "pop3", "old")
    names = [*(f"alpha.{name}" for name in own), "beta.smtp", "pop3"]
    monkeypatch.setattr(
        "mailsandbox.runtime.daemon.serve", lambda *_, announce, **__: announce(dict.fromkeys(names, "place"))
    )
    ran = run("serve", "--config", config, "--ready-file", tmp_path / "r.json")
    gc.enable()
    said = {name: " ".join(words[1:]) for name, *words in map(str.split, ran.out.splitlines()) if name in names}
    assert said == {
        "alpha.smtp": "SMTP, AUTH offered",
        "alpha.submission": "submission, AUTH offered",
        "alpha.submissions": "submission over TLS, AUTH offered",
        "alpha.lmtp": "LMTP, AUTH offered",
        "alpha.bare": "SMTP",
        "alpha.own": "submission, STARTTLS and AUTH over TLS offered",
        "alpha.safe": "SMTP, STARTTLS required, AUTH offered",
        "alpha.here": "LMTP on a UNIX socket, AUTH offered",
        "alpha.pop3": "SMTP",
        "alpha.old": "SMTP",  # no account has a password
        "beta.smtp": "SMTP",
        "pop3": "POP3",
    }


def test_under_json_serve_writes_one_object_beside_another_daemon_too(run, monkeypatch):
    write_ready_file(default_ready_file(), {"http": "127.0.0.1:9"})  # of this process, which lives
    monkeypatch.setattr("mailsandbox.runtime.daemon.serve", lambda *_, announce, **__: announce({"http": "here"}))
    ran = run("serve", "--json")
    assert ran.err == ""
    assert "give this one --ephemeral for its own ports" in ran.json["notes"][0]

    def in_use(*_, **__) -> None:
        raise StartError("alpha.smtp: cannot listen on 127.0.0.1:1025: Address already in use")

    monkeypatch.setattr("mailsandbox.runtime.daemon.serve", in_use)
    ran = run("serve", "--json")
    gc.enable()
    assert (ran.code, ran.out) == (1, "")
    assert json.loads(ran.err)["error"]["code"] == "cannot-start"


def test_errors_of_aiosmtpd_are_logged_and_what_clients_do_is_not():
    log = logging.getLogger("mail.log")
    before = log.level
    try:
        quiet_aiosmtpd()
        assert log.isEnabledFor(logging.ERROR)
        assert not log.isEnabledFor(logging.WARNING)
    finally:
        log.setLevel(before)
