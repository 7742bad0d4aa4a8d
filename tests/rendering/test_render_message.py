"""What `render` says of a whole message."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.rendering import MAX_SEARCH_TEXT, message_ids, pack_parts, render, unpack_parts


def message(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


NESTED = message(
    "Subject: outer",
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "preamble",
    "--b",
    "Content-Type: text/plain; charset=utf-8",
    "",
    "été",
    "--b",
    "Content-Type: message/rfc822",
    'Content-Disposition: attachment; filename="kept.eml"',
    "",
    "Subject: inner",
    "Content-Type: multipart/alternative; boundary=c",
    "",
    "--c",
    "",
    "plain",
    "--c",
    "Content-Type: text/html",
    "",
    "<p>page</p>",
    "--c--",
    "--b",
    "Content-Type: message/rfc822",
    "",
    "Subject: single",
    "",
    "body",
    "--b--",
    "epilogue",
    "",
)


@pytest.mark.rfc(9051, "6.4.5.1")
def test_parts_are_numbered_as_fetch_names_them():
    parts = render(NESTED).parts
    assert [(part.number, part.content_type) for part in parts] == [
        ("", "multipart/mixed"),
        ("1", "text/plain"),
        ("2", "message/rfc822"),
        ("2.1", "text/plain"),
        ("2.2", "text/html"),
        ("3", "message/rfc822"),
        ("3.1", "text/plain"),
    ]


def test_offsets_cut_header_and_body_of_every_part():
    cut = {
        part.number: (NESTED[part.header_start : part.header_end], NESTED[part.body_start : part.body_end])
        for part in render(NESTED).parts
    }
    assert cut["1"] == (b"Content-Type: text/plain; charset=utf-8\r\n\r\n", "été".encode())
    assert cut["2.1"] == (b"\r\n", b"plain")
    assert cut["2.2"] == (b"Content-Type: text/html\r\n\r\n", b"<p>page</p>")
    assert cut["2"][1].startswith(b"Subject: inner")
    assert cut["2"][1].endswith(b"--c--\r\n")
    assert cut["3.1"] == (b"Subject: single\r\n\r\n", b"body")
    assert cut[""][0] + cut[""][1] == NESTED


def test_header_and_text_of_a_held_message_part_at_text_start():
    parts = {part.number: part for part in render(NESTED).parts}
    held = parts["3"]
    assert held.is_message
    assert NESTED[held.body_start : held.text_start] == b"Subject: single\r\n\r\n"
    assert NESTED[held.text_start : held.body_end] == b"body"
    assert parts[""].text_start == parts[""].body_start
    assert not parts["1"].is_message


def test_a_message_that_is_no_multipart_is_its_own_part_one():
    octets = message("Subject: x", "", "body")
    whole, only = render(octets).parts
    assert (whole.number, only.number) == ("", "1")
    assert (whole.body_start, whole.body_end) == (only.body_start, only.body_end) == (14, 18)


def test_the_index_survives_packing():
    parts = render(NESTED).parts
    assert unpack_parts(pack_parts(parts)) == parts


@pytest.mark.rfc(9051, "7.5.2")
def test_the_envelope_has_ten_values_and_senders_default_to_from(imap_list):
    octets = message(
        "Date: Sat, 21 Nov 2026 03:04:22 +0000",
        "Subject: =?utf-8?q?=C3=A9?=",
        "\t folded",
        "From: A <a@x.test>",
        "Sender: ",
        "To: b@x.test",
        "In-Reply-To: <1@x.test>",
        "Message-ID: <2@x.test>",
        "",
        "",
    )
    sender = [[b"A", None, b"a", b"x.test"]]
    assert imap_list(render(octets).envelope) == [
        b"Sat, 21 Nov 2026 03:04:22 +0000",
        b"=?utf-8?q?=C3=A9?= folded",
        sender,
        sender,
        sender,
        [[None, None, b"b", b"x.test"]],
        None,
        None,
        b"<1@x.test>",
        b"<2@x.test>",
    ]


def test_addresses_of_repeated_fields_are_joined_and_of_other_fields_the_last_counts(imap_list):
    octets = message("To: a@x.test", "To: b@x.test", "Subject: one", "Subject: two", "", "")
    shown = imap_list(render(octets).envelope)
    assert [structure[2] for structure in shown[5]] == [b"a", b"b"]
    assert shown[1] == b"two"


def test_an_empty_field_is_an_empty_string_and_an_absent_one_is_nil(imap_list):
    shown = imap_list(render(message("Subject:", "", "")).envelope)
    assert shown[1] == b""
    assert shown[0] is None


def test_raw_eight_bit_octets_of_a_header_are_a_literal():
    assert b"{5}\r\ncaf\xc3\xa9 " in render("Subject: café\r\n\r\n".encode()).envelope


def test_values_for_lists_are_decoded():
    rendered = render(
        message(
            "Subject: Re: =?utf-8?b?w4l0w6k=?= (fwd)",
            "From: =?iso-8859-1?q?Ren=E9?= <r@x.test>",
            "To: a@x.test",
            "To: b@x.test",
            "Cc: c@x.test",
            "Date: Sat, 21 Nov 2026 04:04:22 +0100",
            "Message-ID:",
            " <m@x.test>",
            "In-Reply-To: Your message of <p@x.test> today",
            "References: <a@x.test>",
            " <b@x.test> <a@x.test",
            "",
            "hello",
        )
    )
    assert rendered.subject == "Re: Été (fwd)"
    assert rendered.base_subject == "Été"
    assert rendered.sender == "René <r@x.test>"
    assert (rendered.to, rendered.cc) == ("a@x.test, b@x.test", "c@x.test")
    assert (rendered.date, rendered.date_zone) == (1795230262.0, 3600)
    assert (rendered.message_id, rendered.in_reply_to) == ("<m@x.test>", "<p@x.test>")
    assert rendered.references == ["<a@x.test>", "<b@x.test>"]
    assert rendered.preview == "hello"
    assert rendered.header_end == rendered.parts[0].body_start


@pytest.mark.rfc(5256, "2.2")
def test_message_ids_that_differ_in_quoting_only_are_one():
    assert message_ids('<"01K"@x.test> <01K@x.test> <"a b"@x.test>') == [
        "<01K@x.test>",
        "<01K@x.test>",
        '<"a b"@x.test>',
    ]


@pytest.mark.rfc(9051, "6.4.4")
@pytest.mark.parametrize(
    ("charset", "encoding", "body"),
    [
        ("utf-8", "8bit", "Grüße".encode()),
        ("iso-8859-1", "quoted-printable", b"Gr=FC=\r\n=DFe"),
        ("utf-8", "base64", base64.encodebytes("Grüße".encode())),
        ("x-nothing", "8bit", "GRÜSSE".encode()),
        ("koi8-r", "8bit", b"gruesse"),
    ],
)
def test_bodies_are_searched_decoded_whatever_charset_and_encoding(charset, encoding, body):
    octets = (
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body
    )
    found = render(octets).search_text
    assert "gru\u0308sse" in found or charset in ("x-nothing", "koi8-r")


def test_headers_are_searched_decoded_by_name():
    rendered = render(message("Subject: =?utf-8?q?=C3=89T=C3=89?=", "X-Tag: One", "", "body"))
    assert "subject: e\u0301te\u0301\n" in rendered.search_header
    assert "x-tag: one\n" in rendered.search_header
    assert "body" not in rendered.search_header


def test_the_body_that_is_searched_holds_inner_headers_file_names_and_the_words_of_html():
    text = render(NESTED).search_text
    assert "subject: inner" in text
    assert "kept.eml" in text
    assert "page" in text
    assert "subject: outer" not in text
    html = render(message("Content-Type: text/html", "", "w<b>or</b>d &eacute;")).search_text
    assert "word e\u0301" in html
    assert "<b>" in html


def test_octets_of_attachments_are_not_searched():
    octets = message("Content-Type: image/png", "Content-Transfer-Encoding: base64", "", "aGVsbG8=")
    assert "hello" not in render(octets).search_text


def test_search_text_of_a_huge_body_is_bounded():
    rendered = render(message("", "") + b"line of text\r\n" * 200_000)
    assert MAX_SEARCH_TEXT - 100 < len(rendered.search_text) <= MAX_SEARCH_TEXT + 100


@pytest.mark.parametrize(
    ("header", "count"),
    [
        ("Content-Type: text/plain", 0),
        ("Content-Type: text/plain; name=a.txt", 1),
        ("Content-Disposition: attachment", 1),
        ("Content-Type: application/pdf", 1),
        ("Content-Type: image/png\r\nContent-ID: <a@b>", 0),
        ("Content-Type: image/png\r\nContent-ID: <a@b>\r\nContent-Disposition: attachment", 1),
        ("Content-Type: message/rfc822", 1),
    ],
)
def test_attachments_are_counted_as_a_person_would(header, count):
    octets = message(
        "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "text", "--b", header, "", "x", "--b--"
    )
    assert render(octets).attachments == count


@pytest.mark.rfc(2231, "4")
@pytest.mark.parametrize(
    "header",
    [
        "Content-Disposition: attachment; filename*=utf-8''%C3%A9.png",
        "Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%A9.png",
        'Content-Disposition: attachment; filename="=?utf-8?q?=C3=A9?=.png"',
        'Content-Type: image/png; name="é.png"',
    ],
)
def test_file_names_are_decoded_however_they_were_written(header):
    assert render(message(header, "", "")).parts[-1].filename == "é.png"


@given(st.binary(max_size=300))
def test_any_octets_render_and_every_part_lies_inside_them(octets):
    for part in render(octets).parts:
        assert 0 <= part.header_start <= part.header_end <= part.body_start <= part.body_end <= len(octets)
