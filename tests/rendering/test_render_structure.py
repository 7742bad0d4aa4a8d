"""BODY and BODYSTRUCTURE as trees: each message beside what its structure means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.rendering import render

TEXT = [b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit"]
NOTHING_MORE = [None, None, None, None]


def message(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


@pytest.fixture
def bodystructure(imap_list):
    return lambda octets: imap_list(render(octets).bodystructure)


@pytest.fixture
def body(imap_list):
    return lambda octets: imap_list(render(octets).body)


@pytest.mark.rfc(2045, "5.2")
def test_a_message_without_mime_fields_is_us_ascii_text(bodystructure):
    assert bodystructure(message("Subject: x", "", "one", "two", "")) == [*TEXT, 10, 2, *NOTHING_MORE]


def test_an_empty_message_is_an_empty_text(bodystructure):
    assert bodystructure(b"") == [*TEXT, 0, 0, *NOTHING_MORE]


@pytest.mark.rfc(9051, "7.5.2")
def test_a_text_part_has_size_lines_and_all_extension_data(bodystructure, body):
    octets = message(
        "Content-Type: Text/HTML; Charset=UTF-8; format=flowed",
        "Content-Transfer-Encoding: QUOTED-PRINTABLE",
        "Content-ID: <1@x.test>",
        "Content-Description: a page",
        "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
        'Content-Disposition: INLINE; filename="a b.html"',
        "Content-Language: fr, en-GB (British)",
        "Content-Location: http://x.test/a",
        "",
        "<p>",
    )
    basic = [
        b"Text",
        b"HTML",
        [b"Charset", b"UTF-8", b"format", b"flowed"],
        b"<1@x.test>",
        b"a page",
        b"QUOTED-PRINTABLE",
        3,
        0,
    ]
    assert body(octets) == basic
    assert bodystructure(octets) == [
        *basic,
        b"Q2hlY2sgSW50ZWdyaXR5IQ==",
        [b"INLINE", [b"filename", b"a b.html"]],
        [b"fr", b"en-GB"],
        b"http://x.test/a",
    ]


def test_a_type_that_is_no_text_has_no_line_count_and_no_default_charset(bodystructure):
    octets = message("Content-Type: image/png", "Content-Transfer-Encoding: base64", "", "iVBO", "")
    assert bodystructure(octets) == [b"image", b"png", None, None, None, b"base64", 6, *NOTHING_MORE]


def test_a_multipart_lists_its_parts_then_subtype_parameters_and_extension(bodystructure, body):
    octets = message(
        "Content-Type: multipart/Mixed; boundary=b",
        "Content-Language: de",
        "",
        "--b",
        "",
        "one",
        "--b",
        "Content-Type: multipart/alternative; boundary=c",
        "",
        "--c",
        "Content-Type: text/plain; charset=utf-8",
        "",
        "two",
        "--c--",
        "--b--",
    )
    two = [b"text", b"plain", [b"charset", b"utf-8"], None, None, b"7bit", 3, 0]
    assert body(octets) == [[*TEXT, 3, 0], [two, b"alternative"], b"Mixed"]
    assert bodystructure(octets) == [
        [*TEXT, 3, 0, *NOTHING_MORE],
        [[*two, *NOTHING_MORE], b"alternative", [b"boundary", b"c"], None, None, None],
        b"Mixed",
        [b"boundary", b"b"],
        None,
        [b"de"],
        None,
    ]


@pytest.mark.rfc(9051, "7.5.2")
def test_a_message_part_carries_envelope_structure_and_lines(bodystructure):
    inner = message("Subject: inner", "From: a@x.test", "", "text", "")
    octets = message("Content-Type: MESSAGE/RFC822", "", "") + inner
    shown = bodystructure(octets)
    assert shown[:7] == [b"message", b"rfc822", None, None, None, b"7bit", len(inner)]
    sender = [[None, None, b"a", b"x.test"]]
    assert shown[7] == [None, b"inner", sender, sender, sender, None, None, None, None, None]
    assert shown[8] == [*TEXT, 6, 1, *NOTHING_MORE]
    assert shown[9:] == [4, *NOTHING_MORE]


@pytest.mark.rfc(2046, "5.1.5")
def test_a_part_of_a_digest_without_type_is_a_message(bodystructure):
    octets = message("Content-Type: multipart/digest; boundary=b", "", "--b", "", "Subject: in", "", "x", "--b--")
    part = bodystructure(octets)[0]
    assert part[:3] == [b"message", b"rfc822", None]
    assert part[7][1] == b"in"


@pytest.mark.rfc(2046, "5.2.1")
def test_a_message_hidden_by_its_transfer_encoding_keeps_the_form_of_one(bodystructure):
    shown = bodystructure(message("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "", "eA==", ""))
    assert shown == [
        b"message",
        b"rfc822",
        None,
        None,
        None,
        b"base64",
        6,
        [None] * 10,
        [*TEXT, 0, 0, *NOTHING_MORE],
        1,
        *NOTHING_MORE,
    ]


@pytest.mark.rfc(2046, "5.1.1")
@pytest.mark.parametrize("parameters", ["", "; boundary=b"])
def test_a_multipart_without_parts_is_opaque_so_that_its_octets_can_be_read(bodystructure, parameters):
    shown = bodystructure(message(f"Content-Type: multipart/mixed{parameters}", "", "no parts", ""))
    assert shown[:2] == [b"application", b"octet-stream"]
    assert shown[6] == 10


@pytest.mark.rfc(2231, "6")
def test_continued_parameters_are_joined_and_their_percent_encoding_is_kept(bodystructure):
    octets = message(
        "Content-Type: image/png;",
        " name*1*=%C3%A9.png; name*0*=utf-8''caf",
        'Content-Disposition: attachment; filename*0="one "; filename*1=two; size=3',
        "",
        "",
    )
    shown = bodystructure(octets)
    assert shown[2] == [b"name*", b"utf-8''caf%C3%A9.png"]
    assert shown[8] == [b"attachment", [b"size", b"3", b"filename", b"one two"]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", TEXT[:3]),
        ("text/", TEXT[:3]),
        ("; charset=utf-8", TEXT[:3]),
        ("", TEXT[:3]),
        ("application/pdf; name=my file (1).pdf", [b"application", b"pdf", [b"name", b"my file .pdf"]]),
        ("text/plain; charset", TEXT[:3]),
        ('text/plain; charset="utf-8', [b"text", b"plain", [b"charset", b"utf-8"]]),
        ("text / plain (comment (nested)) ; charset = utf-8", [b"text", b"plain", [b"charset", b"utf-8"]]),
        ("text/plain;; ;charset=utf-8;", [b"text", b"plain", [b"charset", b"utf-8"]]),
        (
            "text/plain; name==?utf-8?q?a?=; charset=x",
            [b"text", b"plain", [b"name", b"=?utf-8?q?a?=", b"charset", b"x"]],
        ),
    ],
)
def test_a_sloppy_content_type_still_gives_type_and_parameters(bodystructure, value, shown):
    assert bodystructure(message(f"Content-Type: {value}", "", ""))[:3] == shown


def test_the_first_of_two_content_types_counts(bodystructure):
    assert bodystructure(message("Content-Type: image/png", "Content-Type: text/html", "", ""))[0] == b"image"


def test_eight_bit_octets_in_a_parameter_are_a_literal(bodystructure):
    octets = message('Content-Type: image/png; name="café.png"', "", "")
    assert b"{9}\r\ncaf\xc3\xa9.png" in render(octets).bodystructure
    assert bodystructure(octets)[2] == [b"name", "café.png".encode()]


HEADER_LINES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Type: multipart/digest; boundary=b\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Subject: \xff\r\n",
        b'Content-Type: \xff/\x00; a="\r\n',
        b"Content-Disposition: ;\r\n",
        b"Content-Language: ,\r\n",
        b"To: (\r\n",
        b"\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"text\r\n",
        b"\n",
        b" fold\r\n",
    ]
)


@given(st.lists(HEADER_LINES | st.binary(max_size=20), max_size=30).map(b"".join))
def test_any_octets_render_as_well_formed_lists(imap_list, octets):
    rendered = render(octets)
    assert len(imap_list(rendered.envelope)) == 10
    for wire in (rendered.body, rendered.bodystructure):
        assert isinstance(imap_list(wire), list)


def test_nesting_beyond_the_limit_is_shown_as_far_as_the_limit(bodystructure):
    octets = b"Content-Type: message/rfc822\r\n\r\n" * 500
    shown, depth = bodystructure(octets), 0
    while shown[0] == b"message":
        shown, depth = shown[8], depth + 1
    assert 50 < depth < 500
