import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.cli.printing import clean, clean_lines, cut, milliseconds, octets, table, width_of


@given(st.text())
def test_nothing_from_a_message_can_steer_the_terminal(text):
    shown = clean(text)
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)


def test_escape_sequences_and_direction_overrides_are_shown_as_replacements():
    assert clean("\x1b[31mred\x07 \u202egnp.exe") == "\ufffd[31mred\ufffd \ufffdgnp.exe"
    assert clean_lines("a\r\nb\x1b") == "a\nb\ufffd"


@given(st.text(), st.integers(1, 40))
def test_what_is_cut_fits(text, width):
    assert width_of(cut(clean(text), width)) <= width


def test_wide_and_combining_characters_take_the_columns_they_take():
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("日本語", 5) == "日本…"


def test_a_table_is_cut_to_the_terminal_where_it_is_widest(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    shown = table(["ID", "SUBJECT"], [["1-1", "x" * 100], ["1-2", "short"]])
    assert max(map(len, shown.splitlines())) == 40
    assert "…" in shown
    assert "x" * 100 in table(["ID", "SUBJECT"], [["1-1", "x" * 100]], whole=True)


def test_columns_line_up_and_numbers_stand_right():
    assert table(["NAME", "N"], [["a", 1], ["bbbbb", 100]], right=(1,)).splitlines() == [
        "NAME     N",
        "a        1",
        "bbbbb  100",
    ]


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))), st.integers(30, 120))
def test_any_table_fits_its_terminal(rows, columns):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        shown = table(["A", "B", "C"], rows)
    assert all(width_of(line) <= columns for line in shown.split("\n"))


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (52_345, "52 kB"), (5 * 10**9, "5.0 GB")]
)
def test_sizes_are_read_at_a_glance(count, shown):
    assert octets(count) == shown


def test_durations_are_read_at_a_glance():
    assert [milliseconds(s) for s in (0.00084, 0.012, 3.21)] == ["0.8 ms", "12 ms", "3.2 s"]
