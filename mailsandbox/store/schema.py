"""The store's tables, as a list of migrations that only grows.

    accounts ─< mailboxes ─< messages >─ contents >─ blobs (database/blobs.py)
        └─< changes    │         └─ traces    └─ renderings, texts
                       └─< bulk_flags, expunged

`contents` is one per distinct content, whoever holds it, and so are the renderings; what differs from copy to copy
(trace fields, flags, dates) is in `messages` and `traces`. Messages are keyed by (mailbox, UID), the order in which
every reader walks them. Counters in `accounts` and `mailboxes` are kept in the transaction of each change.
"""

from typing import Final

from mailsandbox.database.schema import Migration

MIGRATIONS: Final[list[Migration]] = [
    [
        # seq_floor: the highest number of a change in any account that was removed. A new account counts on from there,
        # so that a cursor of its former life is never mistaken for one of this.
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "INSERT INTO meta (name, value) VALUES ('uid_validity', 0), ('seq_floor', 0)",
        """CREATE TABLE accounts (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            address TEXT NOT NULL UNIQUE,
            created_at REAL NOT NULL,
            last_seq INTEGER NOT NULL,
            born_seq INTEGER NOT NULL,
            cut_seq INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            octets INTEGER NOT NULL
        )""",
        """CREATE TABLE mailboxes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            account_id INTEGER NOT NULL,
            name TEXT NOT NULL,
            uid_validity INTEGER NOT NULL,
            uid_next INTEGER NOT NULL,
            mod_seq INTEGER NOT NULL,
            recent_from INTEGER NOT NULL,
            messages INTEGER NOT NULL,
            unseen INTEGER NOT NULL,
            deleted INTEGER NOT NULL,
            octets INTEGER NOT NULL,
            special_use TEXT NOT NULL,
            UNIQUE (account_id, name)
        )""",
        "CREATE TABLE subscriptions (account_id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (account_id, name))",
        """CREATE TABLE metadata (
            account_id INTEGER NOT NULL,
            mailbox_id INTEGER NOT NULL,
            entry TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (account_id, mailbox_id, entry)
        )""",
        """CREATE TABLE messages (
            mailbox_id INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            mod_seq INTEGER NOT NULL,
            flags TEXT NOT NULL,
            internal_date REAL NOT NULL,
            octets INTEGER NOT NULL,
            content_id INTEGER NOT NULL,
            save_date REAL NOT NULL,
            email_id TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            trace_octets INTEGER NOT NULL,
            journey_id TEXT NOT NULL,
            recipient TEXT NOT NULL,
            PRIMARY KEY (mailbox_id, uid)
        ) WITHOUT ROWID""",
        # Listings, newest first: of everything, and of one mailbox; and retention, oldest first.
        "CREATE INDEX messages_saved ON messages (save_date, mailbox_id, uid)",
        "CREATE INDEX messages_saved_in ON messages (mailbox_id, save_date, uid)",
        """CREATE TABLE traces (
            mailbox_id INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            octets BLOB NOT NULL,
            PRIMARY KEY (mailbox_id, uid)
        ) WITHOUT ROWID""",
        # What listing, sorting, threading and searching by field need. `*_key`: case-folded, NULL where equal.
        """CREATE TABLE contents (
            id INTEGER PRIMARY KEY,
            refs INTEGER NOT NULL,
            size INTEGER NOT NULL,
            header_end INTEGER NOT NULL,
            attachments INTEGER NOT NULL,
            sent_date REAL,
            sent_zone INTEGER NOT NULL,
            subject TEXT NOT NULL,
            sender TEXT NOT NULL,
            to_list TEXT NOT NULL,
            cc_list TEXT NOT NULL,
            subject_key TEXT,
            sender_key TEXT,
            to_key TEXT,
            cc_key TEXT,
            message_id TEXT NOT NULL,
            in_reply_to TEXT NOT NULL,
            reference_ids TEXT NOT NULL,
            base_subject TEXT NOT NULL,
            preview TEXT NOT NULL
        )""",
        """CREATE TABLE renderings (
            content_id INTEGER PRIMARY KEY,
            envelope BLOB NOT NULL,
            body BLOB NOT NULL,
            bodystructure BLOB NOT NULL,
            parts BLOB NOT NULL
        )""",
        # Filled shortly after the message was acknowledged.
        "CREATE TABLE texts (content_id INTEGER PRIMARY KEY, header TEXT NOT NULL, body TEXT NOT NULL)",
        """CREATE TABLE threads (
            account_id INTEGER NOT NULL,
            message_key INTEGER NOT NULL,
            thread_id TEXT NOT NULL,
            PRIMARY KEY (account_id, message_key)
        ) WITHOUT ROWID""",
        # One row per change of one kind in one commit: `items` says which messages; seq numbers its last one.
        """CREATE TABLE changes (
            account_id INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            first_seq INTEGER NOT NULL,
            type TEXT NOT NULL,
            mailbox_id INTEGER NOT NULL,
            mailbox TEXT NOT NULL,
            other_name TEXT NOT NULL,
            mod_seq INTEGER NOT NULL,
            at REAL NOT NULL,
            committed_ns INTEGER NOT NULL,
            items BLOB NOT NULL,
            PRIMARY KEY (account_id, seq)
        ) WITHOUT ROWID""",
        # RFC 7162 §3.2.10: expunged UIDs, for VANISHED (EARLIER); kept when the log of changes is cut.
        """CREATE TABLE expunged (
            mailbox_id INTEGER NOT NULL,
            mod_seq INTEGER NOT NULL,
            uids BLOB NOT NULL,
            PRIMARY KEY (mailbox_id, mod_seq)
        ) WITHOUT ROWID""",
    ],
    [
        # Flags of many messages changed at once, newer than their rows: see `bulkflags`.
        """CREATE TABLE bulk_flags (
            mailbox_id INTEGER NOT NULL,
            mod_seq INTEGER NOT NULL,
            flags TEXT NOT NULL,
            ranges BLOB NOT NULL,
            PRIMARY KEY (mailbox_id, mod_seq, flags)
        ) WITHOUT ROWID""",
    ],
    # Grows when contents are rendered anew: see `reindexing`.
    ["INSERT INTO meta (name, value) VALUES ('renderings', 0)"],
    [
        # With rowids, in the order of which SQLite appends. In a tree without them, of which a page has but a few rows
        # of this size, inner pages too, every third or so moved rows between neighbouring pages.
        """CREATE TABLE traces_by_rowid (
            mailbox_id INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            octets BLOB NOT NULL,
            PRIMARY KEY (mailbox_id, uid)
        )""",
        "INSERT INTO traces_by_rowid (mailbox_id, uid, octets) "
        "SELECT mailbox_id, uid, octets FROM traces ORDER BY mailbox_id, uid",
        "DROP TABLE traces",
        "ALTER TABLE traces_by_rowid RENAME TO traces",
    ],
]
