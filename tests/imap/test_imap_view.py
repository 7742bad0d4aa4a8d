"""The view: a session's numbering against a model, whatever happens in whatever order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.access.imap.sets import SequenceSet
from mailsandbox.access.imap.view import RecentMarks, View
from mailsandbox.store.logrow import LogRow
from mailsandbox.store.model import NO_FLAGS, ChangeType, FlagChange, Flags, MessageRow, ModSeq, Seq, Uid


@dataclass
class Mailbox:
    """What the store's MailboxState is to a view; a commit changes it and then tells the view."""

    uids: list[Uid] = field(default_factory=list)
    rows: dict[Uid, MessageRow] = field(default_factory=dict)
    mod_seq: int = 0
    next_uid: int = 1

    def change(self, kind: ChangeType, *uids: Uid) -> LogRow:
        return LogRow("bob@beta.test", kind, 1, "INBOX", ModSeq(self.mod_seq), 0.0, 0, "", Seq(1), uids, ())

    def new(self) -> LogRow:
        uid = Uid(self.next_uid)
        self.next_uid += 1
        self.mod_seq += 1
        self.uids.append(uid)
        self.rows[uid] = MessageRow(uid, 1, ModSeq(self.mod_seq), NO_FLAGS, 0.0, 1, 1, 0.0, "M", "T")
        return self.change(ChangeType.MESSAGE_NEW, uid)

    def flag(self, uid: Uid) -> LogRow:
        self.mod_seq += 1
        row = self.rows[uid]
        flags = NO_FLAGS if "\\Seen" in row.flags else Flags.of(["\\Seen"])
        self.rows[uid] = MessageRow(uid, 1, ModSeq(self.mod_seq), flags, 0.0, 1, 1, 0.0, "M", "T")
        return self.change(ChangeType.FLAGS_SET, uid)

    def last_change(self, uid: Uid) -> FlagChange:
        return FlagChange([uid], self.rows[uid].flags, ModSeq(self.mod_seq))

    def expunge(self, uid: Uid) -> LogRow:
        self.mod_seq += 1
        self.uids.remove(uid)
        del self.rows[uid]
        return self.change(ChangeType.MESSAGE_EXPUNGE, uid)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.just(0)),
        st.tuples(st.just("flag"), st.integers(0, 9)),
        st.tuples(st.just("expunge"), st.integers(0, 9)),
        st.tuples(st.just("tell"), st.just(0)),
        st.tuples(st.just("tell all"), st.just(0)),
    ),
    max_size=40,
)


@pytest.mark.rfc(9051, "7.5.1")
@given(STEPS)
def test_a_client_that_follows_what_it_is_told_knows_the_mailbox(steps: list[tuple[str, int]]) -> None:
    mailbox = Mailbox()
    for _ in range(3):
        mailbox.new()
    view = View(mailbox)
    client = list(mailbox.uids)  # the UIDs by sequence number, as the client believes
    flags = {uid: mailbox.rows[uid].flags for uid in client}
    for step, number in [*steps, ("tell all", 0)]:
        if step == "new":
            view.note([mailbox.new()])
        elif step in ("flag", "expunge") and mailbox.uids:
            uid = mailbox.uids[number % len(mailbox.uids)]
            view.note([mailbox.flag(uid) if step == "flag" else mailbox.expunge(uid)])
        elif step.startswith("tell"):
            pending = view.pull(expunge=step == "tell all")
            for told, uid in pending.expunged:
                assert client.pop(told - 1) == uid
            if pending.exists is not None:
                client += pending.new
                assert len(client) == pending.exists
                flags |= {uid: mailbox.rows[uid].flags for uid in pending.new if uid in mailbox.rows}
            for told, row in pending.flags:
                assert client[told - 1] == row.uid
                flags[row.uid] = row.flags
        assert client == list(view.numbers[: view.exists])
        for index, uid in enumerate(client, 1):
            assert view.sequence_number(uid) == index
    assert client == mailbox.uids
    assert {uid: flags[uid] for uid in client} == {uid: row.flags for uid, row in mailbox.rows.items()}
    assert not view.has_pending


def test_own_changes_are_not_told_again_but_others_are() -> None:
    mailbox = Mailbox()
    for _ in range(2):
        mailbox.new()
    view = View(mailbox)
    one, two = mailbox.uids
    view.note([mailbox.flag(one)])
    view.told_flags([mailbox.last_change(one)])
    assert not view.has_pending
    view.note([mailbox.flag(two)])  # another session's, not yet told,
    view.note([mailbox.flag(two)])  # then one of our own
    view.told_flags([mailbox.last_change(two)])
    assert [row.uid for _, row in view.pull(expunge=False).flags] == [two]


def test_a_client_that_asks_nothing_is_told_of_each_message_once_and_costs_no_memory_for_each_change() -> None:
    mailbox = Mailbox()
    for _ in range(3):
        mailbox.new()
    view = View(mailbox)
    for _ in range(1_000):
        view.note([mailbox.flag(mailbox.uids[0]), mailbox.flag(mailbox.uids[2])])
    assert len(view._flagged) <= 64
    assert [number for number, _ in view.pull(expunge=False).flags] == [1, 3]
    assert not view.has_pending


def test_sequence_numbers_out_of_use_are_told_apart_from_uids_that_do_not_exist() -> None:
    mailbox = Mailbox()
    for _ in range(3):
        mailbox.new()
    view = View(mailbox)
    assert view.indexes(SequenceSet.parse(b"4"), uid=False) is None
    assert view.indexes(SequenceSet.parse(b"4"), uid=True) == []
    assert view.indexes(SequenceSet.parse(b"4:*"), uid=True) == [range(2, 3)]
    assert view.indexes(SequenceSet.parse(b"1:*"), uid=False) == [range(3)]
    assert View(Mailbox()).indexes(SequenceSet.parse(b"1:*"), uid=False) is None


def test_recent_marks_count_ranges() -> None:
    marks = RecentMarks()
    marks.add(3, 4)
    marks.add(9, 8)
    marks.add(7, 7)
    assert [uid for uid in range(1, 10) if uid in marks] == [3, 4, 7]
    assert marks.count([Uid(1), Uid(3), Uid(4), Uid(7)]) == 3
