"""docs/encoding.md names every rule that a gate can report."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r'"([a-z0-9]+(?:-[a-z0-9]+)+)",\s*"RFC')
# Reasons of single edits and notes of emulations, which explain themselves beside their octets.
EDITS = {
    "8bit-parameter", "bare-lf", "content-transfer-encoding", "delimiter", "dkim-signed", "long-header-line",
    "missing-blank-line", "outside-parts", "smtputf8-required", "u-label",
}  # fmt: skip


def test_every_rule_is_documented():
    sources = [*ROOT.glob("mailsandbox/encoding/**/*.py"), ROOT / "mailsandbox/message/spans.py"]
    rules = {rule for path in sources for rule in NAMED.findall(path.read_text("utf-8"))}
    assert len(rules) > 30
    text = (ROOT / "docs" / "encoding.md").read_text("utf-8")
    assert sorted(rule for rule in rules - EDITS if f"`{rule}`" not in text) == []
