"""Everything in one zip, and back: the one format behind the command line, HTTP and the library.

manifest    what stands where in the zip, as typed values, and which values can be right             (pure)
checking    a zip opened and judged whole before anything of it is stored
exporting   the store's contents as a zip, made while it is sent
importing   a judged zip into a store
returning   messages into a mailbox, with the UIDs they had

    messages/000001.eml   whole messages, octet for octet, trace fields first
    index/000001.json     up to a thousand of them: where each lay, flags, dates, recipient, journey
    journeys/000001.json  journeys, each with its events as they were recorded
    manifest.json         accounts with their mailboxes, subscriptions and annotations

Invariant: a mailbox that is not there yet, or never held a message, comes back with its UIDVALIDITY, its UIDs and a
mod-sequence above those its readers know; into one that was in use the messages are appended, and the result says so.
In memory are a chunk of messages and the zip's own directory: 170 MB for 100,000 messages. Not in it: relay queues,
which are mail on its way, and the log of changes, whose numbers belong to one store.
"""
