"""Sequences of commands that nobody would send: each is answered, and none finds a bug."""

import asyncio
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.imap import messages
from tests.imap.serving import ACCOUNT, serving
from tests.imap.wire import Wire

SETS = ["1", "2", "1:*", "*", "2:3", "9", "1,3", "$", "5:2", "3:*,1"]
FLAGS = ["\\Seen", "\\Deleted", "(\\Flagged work)", "()", "(\\Deleted)"]
BOXES = ["INBOX", "box", "box/a", '"&AOk-"', "nosuch", '""', "%", "new"]
KEYS = [
    "ALL",
    "SEEN",
    "UNSEEN 1:2",
    "NOT DELETED",
    "OR SEEN 2",
    "SUBJECT hello",
    "BODY caf",
    "UID 1:*",
    "$",
    "MODSEQ 3",
]
ITEMS = [
    "FLAGS",
    "(UID FLAGS MODSEQ)",
    "BODY[1]",
    "BODY.PEEK[TEXT]<0.3>",
    "ENVELOPE",
    "BINARY[2]",
    "BODY[2.MIME]",
    "FULL",
]
ITEMS += ["(RFC822.SIZE PREVIEW)", "BINARY.SIZE[]", "BODY[HEADER.FIELDS (TO)]", "BODY[1.1.1]", "(EMAILID SAVEDATE)"]

COMMANDS = st.one_of(
    st.builds("{}FETCH {} {}".format, st.sampled_from(["", "UID "]), st.sampled_from(SETS), st.sampled_from(ITEMS)),
    st.builds(
        "{}STORE {} {}FLAGS{} {}".format,
        st.sampled_from(["", "UID "]),
        st.sampled_from(SETS),
        st.sampled_from(["", "+", "-", "(UNCHANGEDSINCE 5) +"]),
        st.sampled_from(["", ".SILENT"]),
        st.sampled_from(FLAGS),
    ),
    st.builds(
        "{}{} {} {}".format,
        st.sampled_from(["", "UID "]),
        st.sampled_from(["COPY", "MOVE"]),
        st.sampled_from(SETS),
        st.sampled_from(BOXES),
    ),
    st.builds(
        "{}SEARCH {}{}".format,
        st.sampled_from(["", "UID "]),
        st.sampled_from(
            ["", "RETURN (SAVE) ", "RETURN (MIN COUNT) ", "RETURN (UPDATE ALL) ", "RETURN (PARTIAL -1:-2) "]
        ),
        st.sampled_from(KEYS),
    ),
    st.builds(
        "{}SORT ({}) UTF-8 {}".format,
        st.sampled_from(["", "UID "]),
        st.sampled_from(["DATE", "REVERSE FROM"]),
        st.sampled_from(KEYS),
    ),
    st.builds(
        "THREAD {} UTF-8 {}".format, st.sampled_from(["REFERENCES", "REFS", "ORDEREDSUBJECT"]), st.sampled_from(KEYS)
    ),
    st.builds(
        "{} {}".format,
        st.sampled_from(
            ["SELECT", "EXAMINE", "CREATE", "DELETE", "SUBSCRIBE", "UNSUBSCRIBE", "GETQUOTAROOT", 'LIST ""', 'LSUB ""']
        ),
        st.sampled_from(BOXES),
    ),
    st.builds("RENAME {} {}".format, st.sampled_from(BOXES), st.sampled_from(BOXES)),
    st.builds("STATUS {} (MESSAGES RECENT HIGHESTMODSEQ)".format, st.sampled_from(BOXES)),
    st.builds(
        "APPEND {} {} {{5+}}\r\nA: b\n".format, st.sampled_from(BOXES), st.sampled_from(["", "(\\Seen)", "(\\Bad)"])
    ),
    st.builds("REPLACE {} {} {{5+}}\r\nA: b\n".format, st.sampled_from(["1", "*", "9"]), st.sampled_from(BOXES)),
    st.builds("SELECT {} (QRESYNC (1790000000 {}))".format, st.sampled_from(BOXES), st.integers(1, 9)),
    st.sampled_from(
        [
            *(
                "NOOP",
                "CHECK",
                "EXPUNGE",
                "UID EXPUNGE 1:*",
                "CLOSE",
                "UNSELECT",
                "CAPABILITY",
                "NAMESPACE",
                "ENABLE QRESYNC",
            ),
            *(
                "ENABLE IMAP4rev2",
                "ENABLE UIDONLY",
                "ENABLE UTF8=ACCEPT",
                "NOTIFY NONE",
                "IDLE\r\nDONE",
                "IDLE\r\nx\r\nDONE",
            ),
            "NOTIFY SET STATUS (SELECTED (MessageNew (UID) MessageExpunge FlagChange)) (INBOXES (MessageNew))",
            "NOTIFY SET (SELECTED-DELAYED (MessageNew MessageExpunge FlagChange))",
            'SETMETADATA INBOX (/private/a "x")',
            "GETMETADATA INBOX (DEPTH 1) (/private)",
            'CANCELUPDATE "n1"',
        ]
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.lists(st.tuples(st.booleans(), COMMANDS), min_size=1, max_size=30))
def test_any_sequence_of_commands_is_answered_without_a_bug(steps: list[tuple[bool, str]]) -> None:
    asyncio.run(converse(steps))


async def converse(steps: list[tuple[bool, str]]) -> None:
    async with serving() as server:
        await server.store.ensure_account(ACCOUNT)
        wires = [await server.selected(), await server.selected()]
        for octets in messages.ALL:
            await wires[0].append("INBOX", octets)
        for number, (second, command) in enumerate(steps):
            wire = wires[second]
            tag = b"n%d " % number
            wire.send(tag + command.encode() + b"\r\n")
            if not await answered(wire, tag):
                wires[second] = await server.selected()
        # Whatever came before: a fresh look and the session's own agree.
        for wire in wires:
            for number, command in enumerate(("NOTIFY NONE", "SELECT INBOX", "NOOP", "UID SEARCH ALL")):
                wire.send(b"z%d %b\r\n" % (number, command.encode()))
                if not await answered(wire, b"z%d " % number):
                    break


async def answered(wire: Wire, tag: bytes) -> bool:
    """Read up to the tagged answer; False where the server said BYE instead."""
    while True:
        response = await wire.response()
        if not response or response.startswith(b"* BYE"):
            return False
        assert b"SERVERBUG" not in response, response
        assert re.match(rb"\* |\+ |[nz]\d+ (?:OK|NO|BAD) ", response), response
        if response.startswith(tag):
            return True
