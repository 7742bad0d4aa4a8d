"""The session without a wire: its table of states, its commands, what garbage does to it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.pop3.authorization import Host
from mailsandbox.access.pop3.commands import COMMANDS, Bad, Parsed, State, parse
from mailsandbox.access.pop3.effects import Commit, Fetch, Leave, Message, Say, TryPassword
from mailsandbox.access.pop3.maildrop import DELETED_KEYWORD, Maildrop
from mailsandbox.access.pop3.personality import PERSONALITIES, Pop3Options, manner
from mailsandbox.access.pop3.session import Session
from mailsandbox.access.pop3.states import MOVES, Event, move
from mailsandbox.access.pop3.texts import NAMES, TEXTS
from mailsandbox.store.credentials import Credentials
from mailsandbox.store.model import NO_FLAGS, Flags, MessageRow

HOST = Host("beta.test", "0", "", True)


def rows(*octets: int, flags=NO_FLAGS) -> list[MessageRow]:
    return [
        MessageRow(
            uid=uid, mailbox_key=1, mod_seq=1, flags=flags, internal_date=0.0, octets=size, content_id=uid,
            save_date=0.0, email_id="", thread_id="",
        )
        for uid, size in enumerate(octets, 1)
    ]  # fmt: skip


def session(*octets: int, **options) -> Session:
    opened = Session(manner(Pop3Options(**options)), Credentials(), host=HOST)
    opened.opened(Maildrop(rows(*octets), uid_validity=7), opened.manner)
    return opened


def say(opened: Session, line: str):
    opened.hear(line.encode())
    return opened.act()


@pytest.mark.rfc(1939, "3")
def test_the_table_of_moves_has_every_way_out_and_no_way_back():
    assert {state for state, event in MOVES if event is Event.LOST} == set(State)
    order = [State.AUTHORIZATION, State.TRANSACTION, State.UPDATE, State.CLOSED]
    assert all(order.index(after) >= order.index(before) for (before, _), after in MOVES.items())
    assert move(State.TRANSACTION, Event.LOST) is State.CLOSED
    with pytest.raises(KeyError):
        move(State.AUTHORIZATION, Event.COMMITTED)


@pytest.mark.rfc(1939, "6")
def test_only_quit_in_transaction_asks_for_a_commit():
    opened = session(10, 20, 30)
    say(opened, "DELE 2")
    assert opened.state is State.TRANSACTION
    assert say(opened, "QUIT") == Commit([2], [])
    assert opened.state is State.UPDATE
    assert isinstance(opened.committed(1, failed=False), Leave)
    assert opened.state is State.CLOSED


@pytest.mark.rfc(1939, "6")
def test_a_connection_lost_in_update_leaves_the_commit_going():
    opened = session(10)
    say(opened, "DELE 1")
    say(opened, "QUIT")
    opened.lost()
    assert opened.state is State.UPDATE


def test_what_was_retrieved_is_reported_unless_it_is_deleted_too():
    opened = session(10, 20)
    for number in (1, 2):
        fetch = say(opened, f"RETR {number}")
        assert isinstance(fetch, Fetch)
        assert isinstance(opened.fetched(fetch, b"a\r\n"), Message)
    say(opened, "DELE 1")
    assert say(opened, "QUIT") == Commit([1], [2])


def test_the_transcript_never_shows_a_secret():
    for line in ("PASS secret", "pass secret more", "APOP bob " + "f" * 32, "AUTH PLAIN AGJvYgBzZWNyZXQ="):
        shown = parse(line.encode()).shown
        assert "***" in shown
        assert not {"secret", "f" * 32, "AGJvYgBzZWNyZXQ="} & set(shown.split())
    opened = Session(manner(Pop3Options()), Credentials(), host=HOST)
    say(opened, "AUTH LOGIN")
    opened.hear(b"Ym9i")
    assert opened.shown == "***"


@pytest.mark.rfc(1939, "7")
def test_a_password_may_hold_spaces_and_may_be_empty():
    opened = Session(manner(Pop3Options()), Credentials(), host=HOST)
    say(opened, "USER bob")
    assert say(opened, "PASS  two  blanks ") == TryPassword("bob", " two  blanks ")
    say(opened, "USER bob")
    assert say(opened, "PASS") == TryPassword("bob", "")


def test_a_login_in_another_charset_is_just_another_login():
    opened = Session(manner(Pop3Options()), Credentials(), host=HOST)
    opened.hear(b"USER b\xe9b\xe9")
    assert isinstance(opened.act(), Say)
    assert say(opened, "PASS x") == TryPassword("bébé", "x")


def test_reading_ahead_follows_a_client_that_reads_in_order_and_no_other():
    opened = session(*[100] * 50)
    fetch = say(opened, "RETR 1")
    assert [row.uid for row in opened.ahead(fetch, messages=5, octets=10_000)] == [1, 2, 3, 4, 5]
    assert [row.uid for row in opened.ahead(fetch, messages=50, octets=250)] == [1, 2]
    assert [row.uid for row in opened.ahead(fetch, messages=50, octets=1)] == [1]
    fetch = say(opened, "RETR 30")
    assert [row.uid for row in opened.ahead(fetch, messages=5, octets=10_000)] == [30]


def test_marked_messages_are_not_read_ahead():
    opened = session(*[100] * 5)
    say(opened, "DELE 2")
    fetch = say(opened, "RETR 1")
    assert [row.uid for row in opened.ahead(fetch, messages=3, octets=10_000)] == [1, 3, 4]


def test_hidden_messages_are_not_part_of_the_maildrop():
    hidden = rows(10, flags=Flags.of([DELETED_KEYWORD, "\\Seen"]))
    shown = rows(20, 30)
    assert Maildrop([*hidden, *shown], uid_validity=1, hidden=[DELETED_KEYWORD]).octets == 50


@given(st.lists(st.tuples(st.sampled_from(["DELE", "RSET", "RETR", "TOP"]), st.integers(0, 7)), max_size=40))
def test_stat_and_list_always_agree(commands):
    opened = session(1, 20, 300, 4_000, 50_000)
    for verb, number in commands:
        effect = say(opened, {"RSET": "RSET", "TOP": f"TOP {number} 0"}.get(verb, f"{verb} {number}"))
        if isinstance(effect, Leave):
            return
    _, count, octets = say(opened, "STAT").shown.split()
    listing = say(opened, "LIST").octets.splitlines()[1:-1]
    assert len(listing) == int(count)
    assert sum(int(line.split()[1]) for line in listing) == int(octets)


@given(st.lists(st.binary(max_size=80) | st.sampled_from([name.encode() for name in COMMANDS]), max_size=30))
def test_garbage_is_answered_and_raises_nothing(lines):
    opened = session(10, 20)
    for line in lines:
        opened.hear(line)
        effect = opened.act()
        if isinstance(effect, Leave | Commit):
            return
        assert isinstance(effect, Say | Fetch)


@given(st.text(alphabet=string.printable, max_size=60))
def test_every_line_is_a_command_or_bad(text):
    parsed = parse(text.encode())
    assert isinstance(parsed, Parsed)
    assert parsed.rule is not None or isinstance(parsed.command, Bad)


def test_every_language_says_everything_with_the_same_places():
    def places(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english = TEXTS["en"]
    for language in NAMES:
        assert TEXTS[language].keys() == english.keys()
        assert all(places(TEXTS[language][key]) == places(english[key]) for key in english)


def test_every_text_that_a_command_can_ask_for_exists():
    for verb in COMMANDS:
        for argument in ("", "1", "1 2", "1 2 3", "x", "-1"):
            command = COMMANDS[verb].parse(argument)
            assert not isinstance(command, Bad) or command.text in TEXTS["en"]


@pytest.mark.parametrize("name", PERSONALITIES)
def test_what_a_personality_lacks_is_neither_announced_nor_there(name):
    opened = Session(manner(Pop3Options(personality=name)), Credentials(), host=HOST)
    opened.opened(Maildrop(rows(10), uid_validity=7), opened.manner)
    capa = say(opened, "CAPA")
    announced = {line.split()[0] for line in capa.octets.decode().splitlines()[1:-1]}
    for verb, line in {"TOP": "TOP 1 0", "UIDL": "UIDL", "LANG": "LANG"}.items():
        effect = say(opened, line)
        there = not (isinstance(effect, Say) and effect.error)
        assert there is (verb not in opened.manner.personality.off)
        assert capa.error or there is (verb in announced)


def test_capabilities_switched_off_by_configuration_are_gone():
    opened = session(10, capabilities_off=frozenset({"TOP", "AUTH=PLAIN"}))
    assert b"TOP" not in say(opened, "CAPA").octets
    assert b"PLAIN" not in say(opened, "CAPA").octets
    assert say(opened, "TOP 1 0").error
