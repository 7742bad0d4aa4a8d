"""Base subject, dates, case mapping, HTML to text, preview."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.base_subject import base_subject, base_subject_and_kind
from mailsandbox.message.casemap import casemap
from mailsandbox.message.dates import parse_date
from mailsandbox.message.plain_text import MAX_PREVIEW, html_text, preview


@pytest.mark.rfc(5256, "2.1")
@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("Hello", "Hello"),
        ("Re: Hello", "Hello"),
        ("RE:  re:Fwd: FW: Hello (fwd) (FWD) ", "Hello"),
        ("Re [2]: Hello", "Hello"),
        ("[list] Re: [list] Hello", "Hello"),
        ("[list]", "[list]"),
        ("[a][b]", "[b]"),
        ("[fwd: Re: Hello (fwd)]", "Hello"),
        ("[Fwd: [Fwd: Hello]]", "Hello"),
        ("Re: [fwd: x] y", "y"),
        ("Report", "Report"),
        ("  a \t b  ", "a b"),
        ("Re:", ""),
        ("(fwd)", ""),
        ("", ""),
    ],
)
def test_the_base_subject_is_free_of_everything_mailers_add(subject, base):
    assert base_subject(subject) == base


@pytest.mark.rfc(5256, "4")
def test_a_reply_or_forward_is_told_from_a_new_subject():
    assert base_subject_and_kind("Re: x") == ("x", True)
    assert base_subject_and_kind("x (fwd)") == ("x", True)
    assert base_subject_and_kind("[fwd: x]") == ("x", True)
    assert base_subject_and_kind("[list] x ") == ("x", False)


@given(st.text(alphabet="re:fwd()[] x", max_size=40))
def test_the_base_subject_of_a_base_subject_is_itself(subject):
    base = base_subject(subject)
    assert base_subject(base) == base


def test_a_subject_of_brackets_alone_costs_linear_time():
    assert base_subject("[a]" * 3_000) == "[a]"
    assert len(base_subject("[a]" * 100_000)) <= 3
    assert base_subject("[" * 100_000).startswith("[[")


@pytest.mark.rfc(5322, "3.3")
@pytest.mark.parametrize(
    ("text", "at", "zone"),
    [
        ("Sat, 21 Nov 2026 03:04:22 +0000", 1795230262.0, 0),
        ("Sat, 21 Nov 2026 04:04:22 +0100 (CET)", 1795230262.0, 3600),
        ("20 Nov 2026 22:04 -0500", 1795230240.0, -18000),
        ("Fri, 20 Nov 26 22:04:22 EST", 1795230262.0, -18000),
        ("Wed, 11 Feb 98 11:51 CST", 887219460.0, -21600),
        ("Sat Nov 21 03:04:22 2026", 1795230262.0, 0),
        ("Sat Nov 21 03:04:22 GMT 2026", 1795230262.0, 0),
        ("21-Nov-2026 03:04:22", 1795230262.0, 0),
        ("Sat,21 Nov 2026 03:04:22 Z", 1795230262.0, 0),
    ],
)
def test_a_date_is_a_moment_and_the_senders_zone(text, at, zone):
    assert parse_date(text) == (at, zone)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "<HR>", "31 Foo 2026", "99 Nov 2026", "1 Nov 2026 25:00:00", "0 Nov 2026", "1 Jan 0000 00:00:00"],
)
def test_what_is_no_date_is_none(text):
    assert parse_date(text) is None


@pytest.mark.rfc(3339, "1")
@pytest.mark.parametrize("text", ["31 Dec 9999 23:59:59 -0100", "1 Jan 0001 00:00:00 +9900", "1 Jan 99999"])
def test_a_date_at_the_end_of_time_stays_within_the_years_that_can_be_written(text):
    found = parse_date(text)
    assert found is not None
    assert datetime.fromtimestamp(found.at, UTC).year in (1, 9999)


@given(st.text(max_size=60) | st.text(alphabet="0123456789 Nov:+-,", max_size=60))
def test_any_text_is_a_date_or_none(text):
    parse_date(text)


@pytest.mark.rfc(5051, "2")
def test_texts_that_differ_in_case_or_composition_only_are_one():
    assert casemap("ÉTÉ") == casemap("été") == casemap("e\u0301te\u0301")
    assert casemap("Straße") == casemap("STRASSE")
    assert casemap("Hello") == "hello"


@given(st.text(max_size=60))
def test_mapping_case_twice_changes_nothing(text):
    assert casemap(casemap(text)) == casemap(text)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("<p>One</p><p>two</p>", "One two"),
        ("o<b>n</b>e", "one"),
        ("caf&eacute; &lt;b&gt; &#8211;", "café <b> –"),
        ("<style>p{}</style>a<script>if (a<b) x()</script>b<!-- c <p> -->c", "abc"),
        ("<head><title>T</title></head>x", "x"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a<br/>b<img src='x'>c", "a b c"),
        ("<script>never closed", ""),
        ("<!-- never closed", ""),
        ("a <", "a <"),
    ],
)
def test_of_html_the_visible_words_remain(source, words):
    assert " ".join(html_text(source).split()) == words


def test_a_hundred_thousand_open_tags_take_linear_time():
    for piece in ("<", "<a", "<script", "<!--", "</", "&", "<style>"):
        html_text(piece * 100_000)


@pytest.mark.rfc(8970, "3.1")
def test_a_preview_is_one_line_of_at_most_two_hundred_characters():
    assert preview(" one\r\n\r\n two\u200b\u00a0three ") == "one two three"
    assert len(preview("word " * 100)) <= MAX_PREVIEW
    assert preview("> quoted\r\nmine\r\n> more") == "mine"
    assert preview("> only quoted") == "> only quoted"


@pytest.mark.parametrize(
    "before", ["", "> quoted\r\n" * 100, "\r\n" * 1_000, "\u200b\u00ad \n" * 500, "x" * 100 + "\n"]
)
def test_a_preview_is_the_same_however_much_follows(before):
    words = before + "word " * 30 + "\r\n\tend\x01 \u2060here\n"
    assert preview(words + "> more\n" * 2_000) == preview(words)
    assert len(preview(words + "more\n" * 2_000)) <= MAX_PREVIEW
    assert preview(" \r\n ") == ""


@given(st.text(max_size=500))
def test_any_text_has_a_preview_without_controls(text):
    shown = preview(text)
    assert len(shown) <= MAX_PREVIEW
    assert not any(character in shown for character in "\r\n\t\0")
