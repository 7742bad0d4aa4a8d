import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.compose import Attached, BodyEncoding, compose
from mailsandbox.message.rendering import render
from mailsandbox.message.spans import scan
from mailsandbox.message.transfer import decode_transfer

PIECES = {"sender": "a@alpha.test", "to": ["b@beta.test"], "message_id": "<1@alpha.test>", "date": 1795230262.0}
PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


def test_the_simplest_message_is_plain_ascii_text():
    assert compose(**PIECES, subject="Hi", text="Hello") == (
        b"From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: Hi\r\nDate: Sat, 21 Nov 2026 03:04:22 +0000\r\n"
        b"Message-ID: <1@alpha.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n\r\nHello\r\n"
    )


@pytest.mark.rfc(5322, "3.6")
def test_a_field_that_was_given_stands_in_place_of_the_one_that_would_be_made():
    octets = compose(**PIECES, text="x", headers={"date": "Mon, 21 Sep 2026 14:13:20 +0000", "X-Other": "1"})
    fields = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [each for each in fields if each.lower().startswith(b"date:")] == [b"date: Mon, 21 Sep 2026 14:13:20 +0000"]
    assert b"From: a@alpha.test" in fields
    assert b"X-Other: 1" in fields


def test_the_same_pieces_make_the_same_octets():
    made = [compose(**PIECES, text="a", html="b", attachments=[Attached("x", "", b"y")]) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.rfc(2046, "5.1.4")
def test_text_html_inline_and_attached_files_nest_as_mailers_expect():
    octets = compose(
        **PIECES,
        text="é",
        html="<img src='cid:i1'>",
        attachments=[Attached("a.png", "", PNG, content_id="i1"), Attached("b.pdf", "", b"%PDF")],
    )
    root = scan(octets)
    assert [part.content_type.name for part in root.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    assert root.all_findings() == []


@pytest.mark.parametrize(
    ("asked", "text_label", "file_label"),
    [
        (BodyEncoding.SEVEN_BIT, "quoted-printable", "base64"),
        (BodyEncoding.EIGHT_BIT, "8bit", "base64"),
        (BodyEncoding.BINARY, "8bit", "binary"),
    ],
)
def test_the_transport_decides_how_text_and_files_are_encoded(asked, text_label, file_label):
    octets = compose(**PIECES, text="déjà vu", attachments=[Attached("a.png", "", PNG)], body_encoding=asked)
    root = scan(octets)
    text, file = root.children
    assert (text.encoding, file.encoding) == (text_label, file_label)
    assert decode_transfer(octets[text.body.start : text.body.end], text.encoding) == "déjà vu\r\n".encode()
    assert decode_transfer(octets[file.body.start : file.body.end], file.encoding) == PNG
    assert octets.isascii() == (asked is BodyEncoding.SEVEN_BIT)


@pytest.mark.rfc(2045, "6.4")
def test_a_container_is_labelled_with_the_most_that_it_holds():
    octets = compose(
        **PIECES, text="é", html="x", attachments=[Attached("a", "", PNG)], body_encoding=BodyEncoding.BINARY
    )
    root = scan(octets)
    assert root.encoding == "binary"
    assert root.children[0].encoding == "8bit"


@pytest.mark.rfc(5322, "2.1.1")
def test_a_text_line_over_998_octets_is_encoded_even_where_8bit_may_be_sent():
    octets = compose(**PIECES, text="x" * 2000)
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert scan(octets).encoding == "quoted-printable"


@pytest.mark.rfc(2047, "5")
def test_subject_and_names_are_encoded_words_and_addresses_never(imap_list):
    octets = compose(
        **{**PIECES, "sender": "Élodie <e@alpha.test>", "to": ['"Doe, J. \\"x\\"" <j@beta.test>']}, subject="Été"
    )
    header = octets.partition(b"\r\n\r\n")[0]
    assert header.isascii()
    assert b"<e@alpha.test>" in header
    rendered = render(octets)
    assert rendered.subject == "Été"
    assert rendered.sender == "Élodie <e@alpha.test>"
    assert imap_list(rendered.envelope)[5] == [[b'Doe, J. "x"', None, b"j", b"beta.test"]]


@pytest.mark.rfc(6532, "3.2")
def test_an_internationalised_address_stays_as_it_is():
    assert "To: é@beta.test\r\n".encode() in compose(**{**PIECES, "to": ["é@beta.test"]}, text="")


@pytest.mark.rfc(5322, "2.2")
@pytest.mark.parametrize("bad", ["x\r\nBcc: evil@x.test", "x\nBcc: evil@x.test", "x\rBcc: evil@x.test"])
def test_nothing_passed_in_can_add_a_header_field(bad):
    octets = compose(
        **{**PIECES, "message_id": bad},
        subject=bad,
        text="t",
        headers={"X-One": bad},
        attachments=[Attached(bad, "", b"", content_id=bad), Attached(bad, "", b"")],
        html="h",
    )
    keys = [field.key for part in scan(octets).walk() for field in part.fields]
    assert "bcc" not in keys


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"X One": "x"}},
        {"headers": {"": "x"}},
        {"sender": "Only a name"},
        {"attachments": [Attached("a", "no type", b"")]},
    ],
)
def test_what_cannot_be_written_is_refused_with_a_reason(wrong):
    with pytest.raises(ValueError, match=r"RFC|no address"):
        compose(**{**PIECES, **wrong})


@pytest.mark.rfc(2231, "4.1")
@pytest.mark.parametrize(
    "name", ["a.png", "a b.png", 'say "hi".png', "é.png", "été à la plage – " * 8 + ".png", "x" * 200, "'%*;"]
)
def test_a_file_name_comes_back_as_it_was_and_lines_stay_short(name):
    octets = compose(**PIECES, attachments=[Attached(name, "image/png", PNG)])
    assert render(octets).parts[-1].filename == name
    assert max(map(len, octets.split(b"\r\n"))) <= 78


@pytest.mark.rfc(2046, "5.2.1")
def test_an_attached_message_is_not_encoded():
    inner = compose(**PIECES, subject="inner", text="é")
    octets = compose(**PIECES, attachments=[Attached("m.eml", "message/rfc822", inner)])
    held = scan(octets).children[1]
    assert held.encoding == "8bit"
    assert held.is_message


def test_a_boundary_never_occurs_in_what_it_delimits():
    first = compose(**PIECES, text="a", html="b")
    boundary = re.search(rb'boundary="([^"]+)"', first)[1]
    second = compose(**PIECES, text="a", html=boundary.decode())
    assert second.count(boundary) == 1


@given(st.text(max_size=80), st.text(max_size=200), st.binary(max_size=100), st.sampled_from(BodyEncoding))
def test_any_texts_and_octets_make_a_message_that_gives_them_back(subject, text, octets, asked):
    made = compose(**PIECES, subject=subject, text=text, attachments=[Attached("f", "", octets)], body_encoding=asked)
    root = scan(made)
    shown, file = root.children
    assert root.all_findings() == []
    assert decode_transfer(made[file.body.start : file.body.end], file.encoding) == octets
    body = decode_transfer(made[shown.body.start : shown.body.end], shown.encoding).decode()
    wanted = re.sub(r"\r\n|\r|\n", "\r\n", text)
    assert body.removesuffix("\r\n") == wanted.encode("utf-8", "replace").decode().removesuffix("\r\n")
