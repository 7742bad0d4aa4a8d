"""`mailsandbox check`: a file judged and converted without a server."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from encoding_gates import EIGHT, MIME, UTF8, mail

from mailsandbox.cli.check import check
from mailsandbox.encoding import DkimKey
from mailsandbox.encoding.signatures import sign

MESSAGE = mail("From: a@alpha.test", "Subject: Grüße", MIME, UTF8, EIGHT, "", "Grüße", "\x1b[31mred")


def run(tmp_path: Path, octets: bytes, *arguments: str):
    path = tmp_path / "message.eml"
    path.write_bytes(octets)
    return CliRunner().invoke(check, [str(path), *arguments], standalone_mode=False)


def test_a_diff_and_the_findings_are_shown(tmp_path):
    result = run(tmp_path, MESSAGE)
    assert result.return_value == 0
    assert "relay gate (7bit hop): convert" in result.output
    assert "- Subject: Grüße" in result.output
    assert "+ Subject: =?utf-8?b?R3LDvMOfZQ==?=" in result.output
    assert "utf8-header" in result.output


def test_control_characters_of_the_message_do_not_reach_the_terminal(tmp_path):
    assert "\x1b" not in run(tmp_path, MESSAGE).output


def test_json_holds_both_verdicts(tmp_path):
    report = json.loads(run(tmp_path, MESSAGE, "--json", "--mode", "strict").stdout)
    assert report["receive"]["verdict"] == "refuse"
    assert report["receive"]["reply"].startswith("554 5.6.9 ")
    assert report["relay"]["verdict"] == "convert"
    assert report["relay"]["edits"][0]["rule"] == "8bit-header"
    assert report["dkim"] is None


@pytest.mark.parametrize(
    ("hop", "verdict", "body"),
    [("7bit", "convert", ""), ("8bitmime", "convert", "8BITMIME"), ("smtputf8", "accept", "8BITMIME")],
)
def test_each_hop_has_its_own_answer(tmp_path, hop, verdict, body):
    report = json.loads(run(tmp_path, MESSAGE, "--json", "--hop", hop, "--smtputf8", "--to", "b@beta.test").stdout)
    relay = report["relay"]
    if hop != "smtputf8":
        # RFC 6531 §3.2: asked for SMTPUTF8, so no relay may convert the header.
        assert relay["reply"].startswith("554 5.6.9")
        report = json.loads(run(tmp_path, MESSAGE, "--json", "--hop", hop).stdout)
        relay = report["relay"]
    assert (relay["verdict"], relay["body"]) == (verdict, body)


def test_binary_content_goes_by_bdat_to_a_hop_that_takes_it(tmp_path):
    octets = mail(MIME, "Content-Type: image/png", "Content-Transfer-Encoding: binary", "") + b"\x89\0\r\n\n\xff"
    report = json.loads(run(tmp_path, octets, "--json", "--hop", "binarymime", "--body", "binarymime").stdout)
    assert report["receive"]["verdict"] == "accept"
    assert (report["relay"]["verdict"], report["relay"]["bdat"]) == ("accept", True)


def test_a_refusal_ends_with_exit_code_1(tmp_path):
    octets = mail(MIME, "Content-Type: multipart/signed; boundary=s", "", "--s", "", "ü", "--s--")
    result = run(tmp_path, octets)
    assert result.return_value == 1
    assert "554 5.6.2 multipart/signed needs conversion" in result.output


def test_a_unix_file_is_taken_with_crlf(tmp_path):
    result = run(tmp_path, MESSAGE.replace(b"\r\n", b"\n"), "--json")
    report = json.loads(result.stdout)
    assert report["crlf_added"] is True
    assert all(finding["rule"] != "bare-lf" for finding in report["receive"]["findings"])


def test_the_converted_message_can_be_written(tmp_path):
    out = tmp_path / "out.eml"
    run(tmp_path, MESSAGE, "--output", str(out))
    assert b"Gr=C3=BC=C3=9Fe" in out.read_bytes()


def test_other_servers_conversions_can_be_seen(tmp_path):
    result = run(tmp_path, MESSAGE, "--emulate", "exim")
    assert "as exim): accept" in result.output
    assert "sent-8bit" in result.output


@pytest.mark.rfc(6376, "5.3")
def test_dkim_is_verified_before_and_after(tmp_path, dkim_key):
    key, record = dkim_key
    assert isinstance(key, DkimKey)
    octets = sign(MESSAGE, key) + MESSAGE
    name, text = next(iter(record.items()))
    result = run(tmp_path, octets, "--dns-txt", f"{name}={text}")
    assert "dkim: valid before, broken by this hop's conversion" in result.output
    kept = run(tmp_path, octets, "--hop", "smtputf8", "--smtputf8", "--dns-txt", f"{name}={text}")
    assert "dkim: valid before, valid after" in kept.output
    record_file = tmp_path / "key.txt"
    record_file.write_text(text)
    assert "broken by" in run(tmp_path, octets, "--dns-txt", f"{name}=@{record_file}").output
    assert "give the key's record" in run(tmp_path, octets).output
