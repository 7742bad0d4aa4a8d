"""Threading: trees from references and subjects, whatever the references say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap import threads
from mailsandbox.access.imap.threads import Threadable


def message(number: int, message_id: str = "", *references: str, subject: str = "", reply: bool = False) -> Threadable:
    return Threadable(number, message_id, references, subject, reply, float(number))


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
def test_references_make_threads(messages: list[Threadable], expected: bytes) -> None:
    assert threads.write(threads.references(messages)) == expected


def test_ordered_subject_puts_all_under_the_first() -> None:
    found = threads.ordered_subject([message(3, subject="x"), message(1, subject="x"), message(2, subject="y")])
    assert threads.write(found) == b"(1 3)(2)"


def test_refs_are_ordered_by_their_latest_message() -> None:
    found = threads.refs([message(1, "a"), message(2, "b"), message(3, "c", "a")])
    assert threads.write(found) == b"(2)(1 3)"


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
    for algorithm in (threads.ordered_subject, threads.references, threads.refs):
        written = threads.write(algorithm(messages))
        assert sorted(int(number) for number in re.findall(rb"\d+", written)) == list(range(1, len(messages) + 1))
        assert written.count(b"(") == written.count(b")")


def test_a_thread_of_thousands_is_no_recursion() -> None:
    chain = [message(1, "m1")] + [message(number, f"m{number}", f"m{number - 1}") for number in range(2, 5_000)]
    assert threads.write(threads.references(chain)).startswith(b"(1 2 3 4")
