"""Grammar: tables of what is read and how, and that nothing but GrammarError ever comes of bad octets."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap.framing import CommandOctets, Framer, LiteralAsked
from mailsandbox.access.imap.grammar import fetch, search
from mailsandbox.access.imap.grammar.fetch import Binary, BinarySize, Body, Fetch, Plain
from mailsandbox.access.imap.grammar.mailboxes import Resync, Select
from mailsandbox.access.imap.grammar.scanner import Scanner
from mailsandbox.access.imap.grammar.search import And, Dated, HasFlag, InSet, Not, Or, Size, Text
from mailsandbox.access.imap.responses import GrammarError
from mailsandbox.access.imap.sets import STAR, SequenceSet
from mailsandbox.access.imap.table import COMMANDS


def parsed(text: str, *literals: bytes) -> object:
    name, _, rest = text.partition(" ")
    if name == "UID":
        second, _, rest = rest.partition(" ")
        name = f"UID {second}"
    scanner = Scanner(CommandOctets((" " + rest if rest else "").encode(), literals))
    found = COMMANDS[name].parse(scanner)
    scanner.end()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FETCH 1 FLAGS", Fetch(False, SequenceSet(((1, 1),)), (Plain("FLAGS"),))),
        ("FETCH 1:* (flags uid FLAGS)", Fetch(False, SequenceSet(((1, STAR),)), (Plain("FLAGS"), Plain("UID")))),
        (
            "UID FETCH 3,5:7 BODY.PEEK[1.2.HEADER]<0.10>",
            Fetch(
                True,
                SequenceSet(((3, 3), (5, 7))),
                (Body(b"BODY[1.2.HEADER]<0>", "1.2", "HEADER", (), True, (0, 10)),),
            ),
        ),
        (
            "FETCH 1 (BINARY[1] BINARY.SIZE[2.1])",
            Fetch(False, SequenceSet(((1, 1),)), (Binary("1", False, None), BinarySize("2.1"))),
        ),
        (
            "FETCH 1 BODY[HEADER.FIELDS (Subject FROM)]",
            Fetch(
                False,
                SequenceSet(((1, 1),)),
                (Body(b"BODY[HEADER.FIELDS (SUBJECT FROM)]", "", "HEADER.FIELDS", (b"subject", b"from")),),
            ),
        ),
        ("SELECT inbox (CONDSTORE)", Select("INBOX", condstore=True)),
        (
            "SELECT box (QRESYNC (7 9 1:5 (1,3 2,4)))",
            Select(
                "box",
                resync=Resync(
                    7, 9, SequenceSet(((1, 5),)), SequenceSet(((1, 1), (3, 3))), SequenceSet(((2, 2), (4, 4)))
                ),
            ),
        ),
    ],
)
def test_a_command_becomes_its_value(text: str, expected: object) -> None:
    assert parsed(text) == expected


@pytest.mark.rfc(9051, "6.4.4")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("SEEN", HasFlag("\\Seen")),
        ("UNSEEN", Not(HasFlag("\\Seen"))),
        ("1:3 UID 4", And((InSet(SequenceSet(((1, 3),)), uid=False), InSet(SequenceSet(((4, 4),)), uid=True)))),
        ("OR SEEN NOT LARGER 5", Or(HasFlag("\\Seen"), Not(Size(larger=True, octets=5)))),
        ("(SEEN (FLAGGED))", And((HasFlag("\\Seen"), HasFlag("\\Flagged")))),
        ('HEADER "X-A" ""', Text("header", "", "X-A")),
        ("SENTON 1-Feb-1994", Dated("sent", "on", datetime.date(1994, 2, 1))),
        ('SUBJECT "a \\"b\\""', Text("subject", 'a "b"')),
    ],
)
def test_a_search_key_becomes_a_tree(text: str, key: search.Key) -> None:
    found = parsed(f"SEARCH {text}")
    assert isinstance(found, search.Search)
    assert found.key == key


@pytest.mark.parametrize(
    "text",
    [
        "FETCH",
        "FETCH 0 FLAGS",
        "FETCH 1:4294967296 FLAGS",
        "FETCH 1 BODY[",
        "FETCH 1 BODY[1..2]",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 (FLAGS))",
        "FETCH 1 (((FLAGS)))",
        "FETCH 1 FLAGS (VANISHED)",
        "STORE 1 +FLAGS (\\Seen",
        "SEARCH",
        "SEARCH OR SEEN",
        "SEARCH NOT",
        "SEARCH " + "(" * 60 + "SEEN" + ")" * 60,
        "SEARCH " + "NOT " * 60 + "SEEN",
        "SEARCH SUBJECT",
        "SEARCH ON 30-Feb-1994",
        "STATUS INBOX (NOSUCH)",
        'SELECT "IN\\BOX"',
        "SELECT INBOX (QRESYNC (0 1))",
        "SORT () UTF-8 ALL",
        "THREAD X UTF-8 ALL",
        "NOTIFY SET (SELECTED (MailboxName))",
        "ID (a)",
        'SETMETADATA INBOX (/private/a*b "x")',
        "LIST (RECURSIVEMATCH) a b",
        "APPEND INBOX",
    ],
)
def test_what_does_not_fit_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parsed(text)


def test_an_unknown_charset_is_told_apart_and_byte_transforms_are_none() -> None:
    for name in ("NOSUCH", "zip", "hex", "rot13", "idna", "undefined"):
        with pytest.raises(search.BadCharset):
            parsed(f"SEARCH CHARSET {name} ALL")


def test_repeated_attributes_are_parsed_once() -> None:
    first = parsed("FETCH 1 (FLAGS UID ENVELOPE)")
    second = parsed("FETCH 2 (FLAGS UID ENVELOPE)")
    assert isinstance(first, Fetch)
    assert isinstance(second, Fetch)
    assert first.attributes is second.attributes


WORDS = st.sampled_from(
    [
        *(b" ", b"(", b")", b'"', b"\\", b"{3}\r\n", b"~{1}\r\n", b"*", b"1", b":", b",", b"$", b"[", b"]", b"<0.1>"),
        *(
            b"NIL",
            b"BODY",
            b"FLAGS",
            b"SEARCH",
            b"RETURN",
            b"NOT",
            b"OR",
            b"UID",
            b"INBOX",
            b"\xff",
            b"\x00",
            b"&",
            b"%",
        ),
        *(b"&AOk-", b"MODSEQ", b"QRESYNC", b"SET", b"SELECTED", b"/private/a", b"1-Feb-1994", b"CHARSET", b"PARTIAL"),
    ]
)


@given(st.sampled_from(sorted(COMMANDS)), st.lists(WORDS, max_size=25), st.lists(st.binary(max_size=5), max_size=3))
def test_any_arguments_give_a_value_or_a_grammar_error(name: str, words: list[bytes], literals: list[bytes]) -> None:
    scanner = Scanner(CommandOctets(b" " + b"".join(words), tuple(literals)))
    try:
        COMMANDS[name].parse(scanner)
        scanner.end()
    except GrammarError:
        pass


@given(st.binary(max_size=200))
def test_any_octets_through_framer_and_grammar_raise_nothing_else(octets: bytes) -> None:
    framer = Framer(lambda text: 50)
    framer.feed(b"a FETCH " + octets + b"\r\n")
    while (event := framer.next_command()) is not None:
        if isinstance(event, LiteralAsked):
            framer.refuse_literal()
        elif isinstance(event, CommandOctets):
            try:
                fetch.fetch(Scanner(event, 7))
            except GrammarError:
                pass
