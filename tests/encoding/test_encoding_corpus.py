"""Real mail through a 7-bit hop, judged by two parsers that nobody here wrote (GMime and Perl's Email::MIME)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absent import absent
from encoding_gates import relay

from mailsandbox.encoding import Refuse, is_clean

SHARED = Path(__file__).parents[3] / "shared"
CORPUS, ORACLE = SHARED / "corpus", SHARED / "tools" / "mime_oracle" / "oracle.py"

# Why a real message may be returned: each has a reason that the standards give.
RIGHT_REFUSALS = {
    "8bit-in-structured": "5.6.0",  # RFC 2047 §5: Received, References
    "8bit-boundary": "5.6.0",  # RFC 2046 §5.1.1
    "malformed-header": "5.6.0",  # RFC 5322 §2.2
    "unfoldable-line": "5.6.0",  # RFC 5322 §2.1.1
    "opaque-multipart": "5.6.0",  # RFC 2045 §6.4: may not be encoded
    "unencodable-message": "5.6.3",  # RFC 2046 §5.2.2: message/partial
    "unknown-encoding": "5.6.3",  # RFC 2045 §6.4: x-uue
    "protected-part": "5.6.2",  # RFC 1847 §2.1
    "non-ascii-local-part": "5.6.7",  # RFC 6531 §3.2
}


@pytest.fixture(scope="module")
def messages() -> dict[Path, bytes]:
    """All messages of the corpus with CRLF line ends, as a client sends them."""
    if not CORPUS.is_dir():
        pytest.skip("the mail corpus is not here")
    paths = [path for path in sorted(CORPUS.glob("*/*")) if path.parent.name != "LICENCES"]
    assert len(paths) > 800
    return {path: re.sub(rb"\r\n|\n", b"\r\n", path.read_bytes()) for path in paths}


@pytest.fixture
def parsers() -> None:
    """The oracle's two programs: missing is a failure in CI."""
    gmime = "import gi; gi.require_version('GMime', '3.0'); from gi.repository import GMime"
    for name, command in (
        ("GMime (gir1.2-gmime-3.0, python3-gi)", ["/usr/bin/python3", "-c", gmime]),
        ("Email::MIME (libemail-mime-perl)", ["perl", "-MEmail::MIME", "-e", "1"]),
    ):
        there = shutil.which(command[0]) and not subprocess.run(command, capture_output=True, check=False).returncode
        if not there:
            absent(name)


@pytest.mark.rfc(6152, "3")
def test_real_mail_is_converted_untouched_or_refused_for_a_good_reason(messages):
    for path, octets in messages.items():
        verdict = relay(octets)
        if isinstance(verdict, Refuse):
            cause = verdict.findings[0]
            assert RIGHT_REFUSALS.get(cause.rule) == cause.enhanced, (path, verdict.reply)
            continue
        assert is_clean(verdict.octets), path
        assert relay(verdict.octets).octets == verdict.octets, path
        if is_clean(octets):
            # RFC 3030 §3: the label binary may not travel to a hop without BINARYMIME. Nothing else is touched.
            assert {edit.rule for edit in verdict.edits} <= {"relabelled"}, path
            assert verdict.octets == octets or b"binary" in octets.lower(), path


@pytest.mark.client("gmime")
@pytest.mark.rfc(6152, "3")
def test_two_independent_parsers_find_nothing_changed_in_real_mail(messages, parsers, tmp_path):
    rows = []
    for number, (path, octets) in enumerate(messages.items()):
        verdict = relay(octets)
        if isinstance(verdict, Refuse):
            rows.append(f"{path}\t-")
            continue
        sent = tmp_path / str(number)
        sent.write_bytes(verdict.octets)
        rows.append(f"{path}\t{sent}")
    pairs, report = tmp_path / "pairs.tsv", tmp_path / "report.jsonl"
    pairs.write_text("\n".join(rows) + "\n")
    subprocess.run([sys.executable, ORACLE, "--batch", pairs, report], check=True, capture_output=True)
    judged = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(judged) == len(messages)
    # T: trees of the parsers, counted where both agree. N1 is the label binary, see above. B is a refusal.
    hard = {
        row["orig"]: found
        for row in judged
        if (found := [text for text in row["findings"] if "one parser" not in text and text[:2] not in ("B ", "N1")])
    }
    assert hard == {}
