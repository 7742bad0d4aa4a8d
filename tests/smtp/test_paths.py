"""Paths of MAIL and RCPT: what is one, what is not, and what only a tolerant reading lets pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.smtp.paths import BadPath, Path, check_domain, check_mailbox, parse_path


@pytest.mark.rfc(5321, "4.1.2")
@pytest.mark.parametrize(
    ("text", "address", "rest"),
    [
        ("<>", "", ""),
        ("<> SIZE=1", "", "SIZE=1"),
        ("<bob@beta.test>", "bob@beta.test", ""),
        ("<bob@beta.test>  BODY=7BIT SIZE=1 ", "bob@beta.test", "BODY=7BIT SIZE=1"),
        ("<b.o.b+x=y@localhost>", "b.o.b+x=y@localhost", ""),
        ("<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~@x", ""),
        ('<"a b"@beta.test>', '"a b"@beta.test', ""),
        ('<"a\\"@\\>b"@beta.test> X=1', '"a\\"@\\>b"@beta.test', "X=1"),
        ('<"@,:"@beta.test>', '"@,:"@beta.test', ""),
        ('<""@beta.test>', '""@beta.test', ""),
        ("<bob@[192.0.2.1]>", "bob@[192.0.2.1]", ""),
        ("<bob@[IPv6:2001:db8::1]>", "bob@[IPv6:2001:db8::1]", ""),
        ("<bob@[x-tag:content]>", "bob@[x-tag:content]", ""),
        ("<@a.test,@b.test:bob@beta.test>", "bob@beta.test", ""),
        ("<Postmaster>", "Postmaster", ""),
        ("<élise@été.test>", "élise@été.test", ""),
        ("<bob@" + "a" * 63 + ".test>", "bob@" + "a" * 63 + ".test", ""),
        ("<" + "a" * 200 + "@beta.test>", "a" * 200 + "@beta.test", ""),
    ],
)
def test_a_path_is_read_with_its_local_part_as_written(text, address, rest):
    read = parse_path(text)
    assert not isinstance(read, BadPath), read
    assert (read[0].address, read[1]) == (address, rest)


@pytest.mark.rfc(5321, "4.1.2")
@pytest.mark.parametrize(
    ("text", "in_domain"),
    [
        ("", False),
        ("bob@beta.test", False),
        (" <bob@beta.test>", False),
        ("<bob@beta.test", False),
        ('<"bob@beta.test>', False),
        ("<bob@beta.test>X", False),
        ("<.bob@beta.test>", False),
        ("<bob.@beta.test>", False),
        ("<b..b@beta.test>", False),
        ("<b b@beta.test>", False),
        ("<b(c)b@beta.test>", False),
        ('<"a"b@beta.test>', False),
        ('<"a\x01"@beta.test>', False),
        ("<@beta.test>", False),
        ("<a@b@beta.test>", False),
        ("<bob@>", True),
        ("<bob@beta..test>", True),
        ("<bob@.test>", True),
        ("<bob@beta.test.>", True),
        ("<bob@-a.test>", True),
        ("<bob@a-.test>", True),
        ("<bob@a_b.test>", True),
        ("<bob@" + "a" * 64 + ".test>", True),
        ("<bob@" + "a." * 130 + "test>", True),
        ("<bob@[192.0.2.256]>", True),
        ("<bob@[192.0.2.1>", True),
        ("<bob@[IPv6:192.0.2.1]>", True),
        ("<bob@[tag:]>", True),
        ("<bob@xn--\u00fc.test>", True),
        ("<b\udcffb@beta.test>", False),
    ],
)
def test_what_is_no_path_says_which_half_is_wrong(text, in_domain):
    read = parse_path(text)
    assert isinstance(read, BadPath)
    assert read.in_domain == in_domain
    assert read.reason.isascii() or "§" in read.reason


@pytest.mark.rfc(5321, "3.3")
@pytest.mark.parametrize(
    ("text", "address"),
    [(" <bob@beta.test>", "bob@beta.test"), ("bob@beta.test X=1", "bob@beta.test"), ("<b@a_b.test>", "b@a_b.test")],
)
def test_a_tolerant_reading_leaves_a_remark(text, address):
    read = parse_path(text, tolerant=True)
    assert not isinstance(read, BadPath)
    assert read[0].address == address
    assert len(read[0].remarks) == 1


@given(st.text(st.characters(codec=None), max_size=60), st.booleans())
def test_any_text_is_a_path_or_is_not_and_raises_nothing(text, tolerant):
    read = parse_path(text, tolerant=tolerant)
    if not isinstance(read, BadPath):
        assert check_mailbox(read[0].address, tolerant=tolerant) is None or not read[0].address


@given(st.from_regex(r"<[a-z0-9.@\"\\\[\]:,> -]{0,30}>?", fullmatch=True))
def test_what_strict_takes_tolerant_takes_alike(text):
    strict = parse_path(text)
    if not isinstance(strict, BadPath):
        tolerant = parse_path(text, tolerant=True)
        assert not isinstance(tolerant, BadPath)
        assert tolerant[0].address == strict[0].address


def test_internationalized_means_more_than_ascii():
    assert Path("bø@beta.test").internationalized
    assert not Path("bo@beta.test").internationalized


def test_a_domain_alone_may_be_a_literal():
    assert check_domain("[127.0.0.1]") is None
    assert check_domain("client.test") is None
    assert check_domain("client_1") is not None
    assert check_domain("client_1", tolerant=True) is None
