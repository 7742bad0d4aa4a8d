"""The scanner: octets to a tree of byte ranges, whatever the octets."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.spans import MAX_DEPTH, MAX_FIELDS, MAX_PARTS, Part, Scanner, Span, scan, unfold

GOLDEN = Path(__file__).parents[1] / "encoding" / "golden"
MESSAGES = [path.read_bytes() for path in sorted(GOLDEN.glob("*.eml"))]


def lines(*rows: str) -> bytes:
    return b"".join(row.encode() + b"\r\n" for row in rows)


def outline(part: Part) -> list[tuple[str, str]]:
    return [(each.number, each.content_type.name) for each in part.walk()]


def body(octets: bytes, part: Part) -> bytes:
    return octets[part.body.start : part.body.end]


@pytest.mark.rfc(5322, "2.1")
def test_header_and_body_meet_at_the_blank_line():
    octets = lines("Subject: x", "", "text")
    root = scan(octets)
    assert (root.header, root.body, root.fields_end) == (Span(0, 14), Span(14, 20), 12)
    assert root.has_blank_line
    assert outline(root) == [("", "text/plain")]
    assert not root.content_type.explicit
    assert root.findings == []


@pytest.mark.rfc(5322, "2.2.3")
def test_a_field_spans_its_folded_lines_and_unfolds():
    octets = lines("Subject: one", " two", "\tthree", "To: x", "")
    root = scan(octets)
    subject = root.field("subject")
    assert subject is not None
    assert octets[subject.start : subject.end] == lines("Subject: one", " two", "\tthree")
    assert unfold(octets, subject) == b"one two\tthree"
    assert [field.name for field in root.fields] == [b"Subject", b"To"]
    assert root.field("absent") is None


@pytest.mark.rfc(5322, "4.5.8")
def test_blanks_before_the_colon_are_tolerated():
    root = scan(b"Subject \t: x\r\n\r\n")
    assert root.fields[0].key == "subject"


@pytest.mark.rfc(2046, "5.1.1")
def test_a_part_ends_before_the_line_end_of_its_delimiter():
    octets = lines(
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "pre",
        "--b",
        "",
        "one",
        "--b",
        "A: b",
        "",
        "two",
        "--b--",
        "post",
    )
    root = scan(octets)
    assert outline(root) == [("", "multipart/mixed"), ("1", "text/plain"), ("2", "text/plain")]
    assert [body(octets, part) for part in root.children] == [b"one", b"two"]
    assert root.preamble is not None
    assert root.epilogue is not None
    assert octets[root.preamble.start : root.preamble.end] == b"pre"
    assert octets[root.epilogue.start : root.epilogue.end] == b"post\r\n"
    assert [octets[span.start : span.end] for span in root.delimiters] == [b"--b\r\n", b"--b\r\n", b"--b--\r\n"]
    assert root.closed


@pytest.mark.rfc(2046, "5.1.2")
def test_an_outer_delimiter_ends_an_inner_part():
    octets = lines(
        "Content-Type: multipart/mixed; boundary=o", "", "--o", "Content-Type: multipart/mixed; boundary=i", "", "--i",
        "", "inner", "--o", "", "outer", "--o--",
    )  # fmt: skip
    root = scan(octets)
    assert [number for number, _ in outline(root)] == ["", "1", "1.1", "2"]
    assert not root.children[0].closed
    assert [finding.rule for finding in root.all_findings()] == ["missing-close-delimiter"]
    assert body(octets, root.children[1]) == b"outer"


@pytest.mark.rfc(2046, "5.1.1")
def test_a_delimiter_is_a_whole_line():
    octets = lines(
        "Content-Type: multipart/mixed; boundary=ab",
        "",
        "--ab",
        "",
        "--abc",
        " --ab",
        "--ab-",
        "--ab--x",
        "--ab \t",
        "",
    )
    assert body(octets, scan(octets).children[0]) == b"--abc\r\n --ab\r\n--ab-\r\n--ab--x"


@pytest.mark.rfc(2046, "5.1.1")
@pytest.mark.parametrize("lookalike", ["--\r\n", "--abc\r\n", "--" + "a" * 76 + "\r\n", "--b-\n"])
@pytest.mark.parametrize("spelling", ["--b\r\n", "--b\n", "--b \t\r\n", "--b--\r\n", "--b --\r\n", "--b--", "--b"])
def test_delimiters_are_found_behind_any_number_of_lines_that_only_look_like_them(lookalike, spelling):
    head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    few, many = ((head + lookalike * count + spelling).encode() for count in (3, 3_000))
    (part,) = scan(few).children[:1]
    assert part.end < len(few)
    (same,) = scan(many).children[:1]
    assert len(many) - same.end == len(few) - part.end
    assert scan(many).closed == scan(few).closed


@pytest.mark.rfc(2046, "5.1.1")
def test_delimiters_of_every_open_multipart_are_looked_for_behind_such_lines():
    noise = ["--x"] * 600
    octets = lines(
        "Content-Type: multipart/mixed; boundary=o", "", "--o", "Content-Type: multipart/mixed; boundary=i", "",
        *noise, "--i", "", *noise, "--i--", *noise, "--o", "", "outer", *noise, "--i", "--o--", *noise,
    )  # fmt: skip
    root = scan(octets)
    assert [number for number, _ in outline(root)] == ["", "1", "1.1", "2"]
    assert root.closed
    assert body(octets, root.children[1]).endswith(b"--x\r\n--i")


@pytest.mark.rfc(2046, "5.2.1")
def test_an_embedded_message_bears_the_number_of_the_part_that_holds_it():
    octets = lines(
        "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: message/rfc822", "",
        "Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--", "--b--",
    )  # fmt: skip
    assert outline(scan(octets)) == [
        ("", "multipart/mixed"), ("1", "message/rfc822"), ("1", "multipart/mixed"), ("1.1", "text/plain"),
    ]  # fmt: skip
    assert outline(scan(lines("Content-Type: message/rfc822", "", "A: b", "", "x"))) == [
        ("", "message/rfc822"),
        ("1", "text/plain"),
    ]


@pytest.mark.rfc(2046, "5.1.5")
def test_a_digest_holds_messages():
    octets = lines("Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: x", "", "text", "--b--")
    root = scan(octets)
    assert root.children[0].content_type.name == "message/rfc822"
    assert not root.children[0].content_type.explicit
    assert root.children[0].children[0].field("subject")


@pytest.mark.rfc(2045, "6.4")
def test_an_embedded_message_hidden_by_base64_is_a_leaf():
    root = scan(
        lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: BASE64 (illegal)", "", "U3ViamVjdA==")
    )
    assert root.encoding == "base64"
    assert root.children == []


@pytest.mark.rfc(2045, "5.2")
@pytest.mark.parametrize("value", ["", "text", "/plain", "text/", "te xt/plain", "=?utf-8?q?x?="])
def test_a_malformed_content_type_is_plain_text(value):
    root = scan(lines(f"Content-Type: {value}", "", "x"))
    assert root.content_type.name == "text/plain"
    assert not root.content_type.valid
    assert [finding.rule for finding in root.findings] == ["malformed-content-type"]


@pytest.mark.rfc(2231, "3")
def test_parameters_are_joined_and_decoded():
    root = scan(lines("Content-Type: TEXT/Html; CHARSET=\"UTF-8\" (x); name*0*=utf-8''a%20; name*1=b", "", "x"))
    assert root.content_type.name == "text/html"
    assert root.content_type.parameters == {"charset": "UTF-8", "name": "a b"}


def test_the_first_of_two_fields_counts():
    root = scan(lines("Content-Type: text/html", "Content-Type: a/b", "Content-Transfer-Encoding: 8bit",
                      "Content-Transfer-Encoding: base64", "", "x"))  # fmt: skip
    assert (root.content_type.name, root.encoding) == ("text/html", "8bit")
    assert [finding.rule for finding in root.findings] == ["duplicate-field"] * 2


@pytest.mark.parametrize(
    ("octets", "fields", "text"),
    [
        (b"", 0, b""),
        (b"\r\nbody", 0, b"body"),
        (b"Subject: x", 1, b""),
        (b"Subject: x\r\nno field\r\nTo: y\r\n\r\nbody", 2, b"body"),
        (b"Subject: x\r\nno blank line follows", 1, b"no blank line follows"),
        (b"From bob Sat Nov 21\r\nSubject: x\r\n\r\nbody", 1, b"body"),
        (b"   \r\nSubject: x\r\n\r\nbody", 1, b"body"),
        (b"J\xc3\xb6rg: x\r\nSubject: x\r\n\r\nbody", 1, b"body"),
        (b"Subject: x\nTo: y\n\nbody\n", 2, b"body\n"),
        (b"just\rcarriage\rreturns", 0, b"just\rcarriage\rreturns"),
    ],
)
def test_any_header_is_made_sense_of(octets, fields, text):
    root = scan(octets)
    assert len(root.fields) == fields
    assert body(octets, root) == text


def test_bare_lf_mail_splits_like_any_other():
    octets = MESSAGES[5].replace(b"\r\n", b"\n")
    assert outline(scan(octets)) == outline(scan(MESSAGES[5]))


@pytest.mark.rfc(2046, "5.1.1")
def test_the_delimiter_may_follow_the_header_without_a_blank_line():
    octets = lines("Content-Type: multipart/mixed; boundary=b", "--b", "", "x", "--b--")
    root = scan(octets)
    assert not root.has_blank_line
    assert body(octets, root.children[0]) == b"x"


def test_the_same_boundary_may_be_used_again_inside():
    octets = lines(
        "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: multipart/mixed; boundary=b", "", "--b",
        "", "inner", "--b--", "--b", "", "outer", "--b--",
    )  # fmt: skip
    assert [number for number, _ in outline(scan(octets))] == ["", "1", "1.1", "2"]


def test_limits_stop_the_splitting_and_are_findings():
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(9))
    assert [finding.rule for finding in scan(nested, max_depth=5).all_findings()][-1] != ""
    assert "nesting-limit" in {finding.rule for finding in scan(nested, max_depth=5).all_findings()}
    assert "nesting-limit" not in {finding.rule for finding in scan(nested).all_findings()}
    many = lines("Content-Type: multipart/mixed; boundary=b", "", *["--b", "", "x"] * 9)
    limited = scan(many, max_parts=5)
    assert len(limited.children) == 4
    assert "part-limit" in {finding.rule for finding in limited.findings}
    large = scan(b"A: b\r\n" * 100 + b"\r\nbody", max_header=60)
    assert [finding.rule for finding in large.findings] == ["header-limit"]
    assert (len(large.fields), large.body) == (10, Span(602, 606))
    crossing = scan(b"A: b\r\nContent-Type: a/b" + b"; c=d" * 20 + b"\r\n\r\nbody", max_header=60)
    assert [finding.rule for finding in crossing.findings] == ["header-limit"]
    assert ([field.key for field in crossing.fields], crossing.content_type.explicit) == (["a"], False)
    many_fields = scan(b"A: b\r\n" * 100 + b"\r\nbody", max_fields=10)
    assert [finding.text for finding in many_fields.findings] == ["more than 10 header fields"]
    assert (len(many_fields.fields), many_fields.body) == (10, Span(602, 606))


HOSTILE = {
    "dashes": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--\r\n" * 500_000,
    "empty parts": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n" * 400_000,
    "nested": b"".join(b"Content-Type: multipart/mixed; boundary=a%d\r\n\r\n--a%d\r\n" % (n, n) for n in range(30_000)),
    "nested, no blank lines": b"".join(
        b"Content-Type: multipart/mixed; boundary=a%d\r\njunk\r\n--a%d\r\n" % (n, n) for n in range(30_000)
    ),
    "messages": b"Content-Type: message/rfc822\r\n\r\n" * 60_000,
    "fields": b"a:\r\n" * 500_000,
    "folds": b"a:\r\n" + b" \r\n" * 700_000,
    "junk": b"junk\r\n" * 300_000,
    "quotes": b"Content-Type: a/b;" + b'"' * 90_000 + b"\r\n\r\n",
    "comments": b"Content-Type: a/b" + b"(" * 90_000 + b"\r\n\r\n",
    "parameters": b"Content-Type: a/b" + b";a=b" * 22_000 + b"\r\n\r\n",
    "one name": b"a" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_makes_a_tree_of_bounded_size(name):
    # Linear time shows here only in that the suite ends; `scripts/bench encoding` measures it.
    parts = list(scan(HOSTILE[name]).walk())
    assert len(parts) <= MAX_PARTS
    assert sum(len(part.fields) for part in parts) <= MAX_FIELDS
    assert max(part.number.count(".") for part in parts) <= MAX_DEPTH


pieces = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"--b", b"--", b"a: b", b"Content-Type: multipart/mixed; boundary=b", b" "])
)


@given(st.one_of(pieces.map(b"".join), st.sampled_from(MESSAGES), st.binary(max_size=200)), st.integers(1, 60))
def test_fed_in_pieces_gives_the_tree_of_the_whole(octets, size):
    scanner = Scanner()
    for at in range(0, len(octets), size):
        scanner.feed(octets[at : at + size])
    assert scanner.close() == (octets, scan(octets))


@given(st.one_of(pieces.map(b"".join), st.binary(max_size=300)))
def test_spans_nest_and_stay_within_the_octets(octets):
    root = scan(octets)
    assert (root.start, root.end) == (0, len(octets))
    for part in root.walk():
        assert part.start == part.header.start <= part.fields_end <= part.header.end == part.body.start
        assert part.body.start <= part.body.end == part.end
        position = part.body.start
        for child in part.children:
            assert position <= child.start <= child.end <= part.end
            position = child.end
        for field in part.fields:
            assert re.match(rb"[\x21-\x39\x3b-\x7e]+[ \t]*:", octets[field.start : field.value_start])
