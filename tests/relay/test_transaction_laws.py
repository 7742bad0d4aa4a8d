"""Laws of the transaction: whatever a server answers, it ends, and everyone has exactly one result."""

from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.relay.transaction import Mail, Transaction
from mailsandbox.smtp.replies import Reply
from mailsandbox.smtp.reply_reader import ReplyReader

CODES = st.sampled_from([220, 250, 251, 354, 421, 450, 451, 452, 500, 503, 550, 552, 554])
MAILS = st.builds(
    Mail,
    mail=st.just(b"MAIL FROM:<a@alpha.test>"),
    recipients=st.integers(1, 5).map(lambda n: [b"RCPT TO:<%d@beta.test>" % i for i in range(n)]),
    octets=st.sampled_from([b"", b".\r\n", b"Hello\r\n", b"no end", b"x" * 70_000]),
    bdat=st.booleans(),
    lmtp=st.booleans(),
    pipelining=st.booleans(),
)


def converse(mail: Mail, codes: list[int], lost_after: int | None = None) -> tuple[Transaction, list[str]]:
    transaction = Transaction(mail)
    said: list[str] = []
    for index in range(100):
        said.extend(piece.shown for piece in transaction.drain())
        if transaction.done:
            break
        if index == lost_after:
            transaction.lost("gone")
            break
        transaction.feed(Reply(codes[index % len(codes)], "", ("text",)))
    said.extend(piece.shown for piece in transaction.drain())
    return transaction, said


@given(MAILS, st.lists(CODES, min_size=1, max_size=12), st.one_of(st.none(), st.integers(0, 10)))
def test_it_ends_and_everyone_has_one_result(mail, codes, lost_after):
    transaction, said = converse(mail, codes, lost_after)
    assert transaction.done
    assert all(result is not None for result in transaction.results)
    assert transaction.drain() == []
    assert said.count("MAIL FROM:<a@alpha.test>") == 1
    assert len([line for line in said if line.startswith("RCPT")]) == len({line for line in said if "RCPT" in line})


@given(MAILS, st.lists(CODES, min_size=1, max_size=12), st.one_of(st.none(), st.integers(0, 10)))
def test_delivered_means_accepted_at_rcpt_and_answered_2yz_at_the_end(mail, codes, lost_after):
    transaction, said = converse(mail, codes, lost_after)
    delivered = [result for result in transaction.results if 200 <= result.code < 300]
    if delivered:
        assert any("octets of message data" in line for line in said)
        assert transaction.octets_sent
    assert not transaction.uncertain & {
        index for index, result in enumerate(transaction.results) if result.enhanced != "4.4.2"
    }


@given(MAILS, st.lists(CODES, min_size=1, max_size=12))
def test_message_data_go_out_after_354_only_unless_by_bdat(mail, codes):
    transaction, said = converse(mail, codes)
    if not mail.bdat and transaction.octets_sent:
        assert 354 in codes
        assert said[-1] in (".", "RSET")


@given(
    st.lists(st.tuples(CODES, st.lists(st.text("abc -", max_size=5), min_size=1, max_size=3)), min_size=1, max_size=8)
)
def test_replies_fed_octet_by_octet_are_those_fed_whole(replies):
    wire = b"".join(Reply(code, "", tuple(lines)).encode() for code, lines in replies)
    whole = ReplyReader().feed(wire)
    reader = ReplyReader()
    assert [reply for octet in wire for reply in reader.feed(bytes([octet]))] == whole
