"""Threading: trees from references and subjects, whatever the references say."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap.threads import ALGORITHMS, Forest


@dataclass(frozen=True)
class Message:
    number: int
    message_id: str
    references: tuple[str, ...]
    subject: str
    reply: bool


def message(number: int, message_id: str = "", *references: str, subject: str = "", reply: bool = False) -> Message:
    return Message(number, message_id, references, subject, reply)


def thread(algorithm: str, messages: list[Message]) -> bytes:
    forest = Forest()
    for each in messages:
        forest.add(
            each.number,
            each.message_id,
            each.references,
            subject=each.subject,
            is_reply=each.reply,
            date=float(each.number),
        )
    numbers = [each.number for each in messages]
    return forest.thread(algorithm, numbers, numbers)


@pytest.mark.rfc(5256, "3")
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([message(1, "a"), message(2, "b", "a"), message(3, "c", "a", "b")], b"(1 2 3)"),
        ([message(1, "a"), message(2, "b", "a"), message(3, "c", "a")], b"(1 (2)(3))"),
        ([message(2, "b", "gone"), message(3, "c", "gone")], b"((2)(3))"),
        ([message(1, "a", "gone")], b"(1)"),
        ([message(1, "a", "b"), message(2, "b", "a")], b"(2 1)"),
        ([message(1, "a"), message(2, "a")], b"(1)(2)"),
        ([message(1, subject="x"), message(2, subject="x", reply=True)], b"(1 2)"),
        ([message(1, subject="x"), message(2, subject="x")], b"((1)(2))"),
        ([message(1, subject="x", reply=True), message(2, subject="x")], b"(2 1)"),
        ([message(1), message(2)], b"(1)(2)"),
    ],
)
def test_references_make_threads(messages: list[Message], expected: bytes) -> None:
    assert thread("REFERENCES", messages) == expected


def test_ordered_subject_puts_all_under_the_first() -> None:
    messages = [message(3, subject="x"), message(1, subject="x"), message(2, subject="y")]
    assert thread("ORDEREDSUBJECT", messages) == b"(1 3)(2)"


def test_refs_are_ordered_by_their_latest_message() -> None:
    assert thread("REFS", [message(1, "a"), message(2, "b"), message(3, "c", "a")]) == b"(2)(1 3)"


IDS = st.sampled_from("abcdef")
MESSAGES = st.lists(
    st.tuples(IDS, st.lists(IDS, max_size=4), st.sampled_from(["", "x", "y"]), st.booleans()), max_size=15
)


@given(MESSAGES)
def test_every_message_appears_once_in_every_algorithm(drawn: list[tuple[str, list[str], str, bool]]) -> None:
    messages = [
        message(number, message_id, *references, subject=subject, reply=reply)
        for number, (message_id, references, subject, reply) in enumerate(drawn, 1)
    ]
    for algorithm in ALGORITHMS:
        written = thread(algorithm, messages)
        assert sorted(int(number) for number in re.findall(rb"\d+", written)) == list(range(1, len(messages) + 1))
        assert written.count(b"(") == written.count(b")")


def test_a_thread_of_thousands_is_no_recursion() -> None:
    chain = [message(1, "m1")] + [message(number, f"m{number}", f"m{number - 1}") for number in range(2, 5_000)]
    assert thread("REFERENCES", chain).startswith(b"(1 2 3 4")
