import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.message.imap_addresses import address_list, parse_addresses

MISSING = (None, None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")
END = (None, None, None, None)


@pytest.mark.rfc(9051, "7.5.2")
@pytest.mark.parametrize(
    ("value", "structures"),
    [
        (b"fred@foo.test", [(None, None, b"fred", b"foo.test")]),
        (b"Fred Foobar <fred@foo.test>", [(b"Fred Foobar", None, b"fred", b"foo.test")]),
        (b'"Fred (F.) Foo, Jr" <fred@foo.test>', [(b"Fred (F.) Foo, Jr", None, b"fred", b"foo.test")]),
        (rb'"Fred \"F\" Foo" <fred@foo.test>', [(b'Fred "F" Foo', None, b"fred", b"foo.test")]),
        (b"Fred F. Foo <fred@foo.test>", [(b"Fred F. Foo", None, b"fred", b"foo.test")]),
        (b"fred@foo.test (Fred (the) Foo)", [(b"Fred (the) Foo", None, b"fred", b"foo.test")]),
        (b"=?utf-8?q?=C3=89?= <e@foo.test>", [(b"=?utf-8?q?=C3=89?=", None, b"e", b"foo.test")]),
        (b'"a b"@foo.test', [(None, None, b"a b", b"foo.test")]),
        (b"fred@[127.0.0.1]", [(None, None, b"fred", b"[127.0.0.1]")]),
        (b"a@x.test, B <b@y.test>,\r\n c@z.test", [
            (None, None, b"a", b"x.test"), (b"B", None, b"b", b"y.test"), (None, None, b"c", b"z.test"),
        ]),
        (b"Group: a@x.test, B <b@y.test>;", [
            (None, None, b"Group", None), (None, None, b"a", b"x.test"), (b"B", None, b"b", b"y.test"), END,
        ]),
        (b"undisclosed-recipients:;", [(None, None, b"undisclosed-recipients", None), END]),
        (b"G: a@x.test", [(None, None, b"G", None), (None, None, b"a", b"x.test"), END]),
        (b"<@one.test,@two.test:fred@foo.test>", [(None, b"@one.test,@two.test", b"fred", b"foo.test")]),
        (b"fred . foo @ bar . test", [(None, None, b"fred.foo", b"bar.test")]),
        ("Été <e@x.test>".encode(), [("Été".encode(), None, b"e", b"x.test")]),
    ],
)  # fmt: skip
def test_an_address_is_four_values_as_stored(value, structures):
    assert parse_addresses(value) == structures


@pytest.mark.parametrize(
    ("value", "structures"),
    [
        (b"", []),
        (b" (only a comment) ", []),
        (b",, ,a@x.test,,", [(None, None, b"a", b"x.test")]),
        (b"fred", [(None, None, b"fred", b"MISSING_DOMAIN")]),
        (b"Fred Foo", [(b"Fred Foo", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")]),
        (b"Fred Foo fred@foo.test", [(b"Fred Foo", None, b"fred", b"foo.test")]),
        (b"<>", [MISSING]),
        (b"<fred@foo.test", [(None, None, b"fred", b"SYNTAX_ERROR")]),
        (b"Fred <fred foo.test>, b@y.test", [
            (b"Fred", None, b"fredfoo.test", b"MISSING_DOMAIN"), (None, None, b"b", b"y.test"),
        ]),
        (b"@foo.test", [(None, None, b"MISSING_MAILBOX", b"foo.test")]),
        (b"[<a@x.test>]", [MISSING]),
        (b'"unclosed <a@x.test>', [(b"unclosed <a@x.test>", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")]),
        (b"a@x.test junk <b>, c@y.test", [(None, None, b"a", b"x.test"), (None, None, b"c", b"y.test")]),
    ],
)  # fmt: skip
def test_what_is_no_address_is_shown_under_placeholders_and_the_next_one_is_found(value, structures):
    assert parse_addresses(value) == structures


def test_no_address_at_all_is_nil_never_an_empty_list():
    assert address_list(parse_addresses(b" ")) == b"NIL"


@given(st.binary(max_size=120) | st.text(alphabet='ab.@<>,;:"()[] \\\r\n', max_size=60).map(str.encode))
def test_any_octets_are_read_and_written_as_a_well_formed_list(imap_list, value):
    shown = imap_list(address_list(parse_addresses(value)))
    assert shown is None or all(len(structure) == 4 for structure in shown)


@given(st.lists(st.sampled_from([b"a@x.test", b"B <b@y.test>", b'"C, D" <c@z.test>', b"G: d@w.test;", b"junk"])))
def test_an_address_means_the_same_alone_and_in_a_list(pieces):
    alone = [structure for piece in pieces for structure in parse_addresses(piece)]
    assert parse_addresses(b", ".join(pieces)) == alone


def test_a_field_of_a_hundred_thousand_parentheses_takes_no_more_than_linear_time():
    for piece in (b"(", b"()", b'"', b"<", b"@", b"a ", b"a.", b"\\", b"[", b":", b";", b"(\\"):
        parse_addresses(piece * 100_000)
