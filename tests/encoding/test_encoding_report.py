"""Edits and findings as they are stored and shown."""

from encoding_gates import EIGHT, MIME, UTF8, converted, mail

from mailsandbox.encoding.report import EXCERPT, MAX_RECORDS, diff, edit_records, excerpt, shown
from mailsandbox.message.findings import Edit

MESSAGE = mail("Subject: x", MIME, UTF8, EIGHT, "", "Grüße", "unchanged", "ü")


def test_a_record_shows_both_sides_and_why():
    verdict = converted(MESSAGE)
    records = edit_records(MESSAGE, verdict.edits)
    first = records[0]
    assert (first.rule, first.before, first.after) == (
        "content-transfer-encoding",
        "8bit",
        "quoted-printable",
    )
    assert records[-1].rule == "8bit-to-quoted-printable"
    assert records[-1].before.startswith("üße")
    assert records[-1].after.startswith("=C3=BC=C3=9Fe")


def test_records_of_many_and_large_edits_are_bounded():
    edits = [Edit(n, n + 1, b"y" * 5000, "rule", "RFC 1") for n in range(1000)]
    records = edit_records(b"x" * 1000, edits)
    assert len(records) == MAX_RECORDS + 1
    assert records[-1].before == "800 more edits"
    assert all(len(record.after) < EXCERPT + 30 for record in records)


def test_octets_are_shown_readably_and_without_control_characters():
    assert shown(b"a\0\x1b[31m\xff\xc3\xbc") == "a\\x00\\x1b[31m\\xffü"
    assert excerpt(b"x" * 500) == "x" * 160 + "… (500 octets)"


def test_the_diff_shows_whole_lines_once_and_only_changed_ones():
    lines = [f"{line.sign} {line.text}" for line in diff(MESSAGE, converted(MESSAGE).edits)]
    assert "- Content-Transfer-Encoding: 8bit" in lines
    assert "+ Content-Transfer-Encoding: quoted-printable" in lines
    assert "- Grüße" in lines
    assert "+ Gr=C3=BC=C3=9Fe" in lines
    assert not any("Subject" in line for line in lines)
    assert sum(line.startswith("@") for line in lines) == 3


def test_a_long_replacement_is_cut():
    message = mail(MIME, UTF8, EIGHT, "") + "ü\r\n".encode() * 100
    lines = list(diff(message, converted(message).edits, max_lines=5))
    assert "… 95 more lines" in [line.text for line in lines]
