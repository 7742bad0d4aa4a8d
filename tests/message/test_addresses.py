"""Paths of the envelope, judged strictly; mailbox lists of header fields, read tolerantly; trace fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.addresses import (
    Group,
    Mailbox,
    ascii_address,
    mailboxes,
    parse_mailboxes,
    parse_path,
    tokens,
    valid_path,
)
from mailsandbox.message.trace import (
    format_date,
    leading_received,
    received_field,
    received_ids,
    received_values,
    return_path_field,
)


@pytest.mark.rfc(5321, "4.1.2")
@pytest.mark.parametrize(
    "address",
    ["a@b", "a.b+c@d-e.test", '"a b"@c.test', '"\\""@c.test', "a@[127.0.0.1]", "a@[IPv6:::1]", "jörg@bücher.example",
     "a" * 64 + "@b.test", "a@under_score.test"],
)  # fmt: skip
def test_valid_mailboxes(address):
    assert valid_path(address)


@pytest.mark.rfc(5321, "4.5.3.1")
@pytest.mark.parametrize(
    "address",
    ["", "a", "@b", "a@", "a b@c", ".a@b", "a.@b", "a..b@c", "a@b..c", "a@-b", "a@b-", "a@[1.2.3]", '"a@b', "a@b c",
     "a" * 65 + "@b.test", "a@" + "b" * 64 + ".test", "a@" + ".".join(["b" * 60] * 5), "a@b\r\n", "a\0@b", "<a@b>"],
)  # fmt: skip
def test_invalid_mailboxes(address):
    assert not valid_path(address)


def test_a_path_has_a_local_part_and_a_domain():
    assert parse_path('"a@b"@c.test') == ('"a@b"', "c.test")


@pytest.mark.rfc(5891, "4")
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@b.test", "a@b.test"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("jörg@b.test", None),
        ("ü", None),
        ("a@\u2028.test", None),
    ],
)
def test_addresses_in_a_labels(address, expected):
    assert ascii_address(address) == expected


@pytest.mark.rfc(5322, "3.4")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@b.test", [Mailbox("", "a", "b.test")]),
        (b"A B <a@b.test>, c@d", [Mailbox("A B", "a", "b.test"), Mailbox("", "c", "d")]),
        (b'"B, A" <a@b.test>', [Mailbox("B, A", "a", "b.test")]),
        (b"a@b.test (A (x) B)", [Mailbox("A (x) B", "a", "b.test")]),
        (b"=?utf-8?q?J=C3=B6rg?= <j@b.test>", [Mailbox("Jörg", "j", "b.test")]),
        (b"=?utf-8?q?a=2C:_b)?= <j@b.test>", [Mailbox("a,: b)", "j", "b.test")]),
        ("Jörg <j@b.test>".encode(), [Mailbox("Jörg", "j", "b.test")]),
        (b"g: a@b, c@d;, e@f", [Group("g", (Mailbox("", "a", "b"), Mailbox("", "c", "d"))), Mailbox("", "e", "f")]),
        (b"undisclosed-recipients:;", [Group("undisclosed-recipients", ())]),
        (b"<@r:a@b>", [Mailbox("", "a", "b")]),
        (b'"a b"@c', [Mailbox("", "a b", "c")]),
        (b"a@[127.0.0.1]", [Mailbox("", "a", "[127.0.0.1]")]),
        (b"just words", [Mailbox("just words", "", "")]),
        (b"a @ b . c", [Mailbox("", "a", "b.c")]),
        (b", ,", []),
        (b"", []),
    ],
)
def test_mailbox_lists_are_read(value, expected):
    assert parse_mailboxes(value) == expected


@given(st.binary(max_size=120))
def test_reading_addresses_never_fails_and_tokens_cover_the_value(value):
    assert b"".join(token.octets for token in tokens(value)) == value
    assert all(isinstance(mailbox.address, str) for mailbox in mailboxes(value))


@pytest.mark.rfc(5322, "3.3")
def test_dates_are_in_utc_and_need_no_locale():
    assert format_date(1_795_229_799.9) == "Sat, 21 Nov 2026 02:56:39 +0000"


@pytest.mark.rfc(5321, "4.4")
def test_a_received_field_is_read_back():
    field = received_field(
        helo="client.test", peer="127.0.0.1:4711", by="alpha.test", protocol="ESMTPS", queue_id="Q1", at=0,
        tls="TLSv1.3", recipient="b@beta.test",
    )  # fmt: skip
    assert field.endswith(b"\r\n")
    assert b"from client.test ([127.0.0.1])" in field
    assert b"for <b@beta.test>" in field
    assert max(len(line) for line in field.split(b"\r\n")) <= 78
    older = b"Received: from x (y by z id no) by MX.Old.test (Postfix, id none)\n\twith SMTP id <4711@x>; now\n"
    header = field + older + b"Received: nonsense\r\nSubject: x\r\n\r\nReceived: by body.test id 1\r\n"
    values = received_values(header)
    assert len(values) == 3
    assert received_ids(values) == [("alpha.test", "Q1"), ("mx.old.test", "4711@x")]


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.parametrize(
    "value",
    [
        b" from x ([192.0.2.1])\r\n\tby alpha.test with ESMTP id Q1; now",
        b' from [192.0.2.1] ([192.0.2.1])\r\n\t(HELO "by z id no")\r\n\tby alpha.test with ESMTP id Q1; now',
        b" from x (y)\r\n\tBY Alpha.test (by z id no) WITH ESMTP ID Q1; now",
        b" from x (y (nested) by z id no)\r\n\tby alpha.test with ESMTP id <Q1>; now",
        b" by alpha.test via no id Q1",
    ],
)
def test_comments_of_a_received_field_name_no_server_and_no_id(value):
    assert received_ids([value]) == [("alpha.test", "Q1")]


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_nobody_can_write_lines_into_our_trace_fields(helo, recipient, path):
    field = received_field(helo=helo, peer=helo, by="a", protocol="SMTP", queue_id="Q", at=0, recipient=recipient)
    field += return_path_field(path)
    for line in field.split(b"\r\n")[1:-1]:
        assert line.startswith((b"\t", b"Return-Path: "))
        assert b"\r" not in line
        assert b"\n" not in line


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.parametrize(
    ("leading", "rest"),
    [
        (b"Received: by a\r\n", b"Subject: x\r\n\r\n"),
        (b"Received: by a\r\nRECEIVED : by b;\r\n\tdate\r\n", b"From: a\r\nReceived: by c\r\n\r\n"),
        (b"", b"Subject: x\r\nReceived: by a\r\n\r\n"),
        (b"", b"Received: by a\nSubject: bare LF\r\n\r\n"),
        (b"", b"Received: by a\r\n\r\nbody: x\r\n"),
        (b"", b"Received: by a\r\nno field\r\n\r\n"),
        (b"Received: by a\r\n", b"Received: by b\r\nno field\r\n\r\n"),
        (b"", b"Received-SPF: pass\r\nSubject: x\r\n\r\n"),
        (b"", b""),
    ],
)
def test_a_message_is_parted_behind_the_received_fields_it_begins_with(leading, rest):
    assert leading_received(leading + rest) == len(leading)
