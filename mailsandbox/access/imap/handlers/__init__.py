"""What each command does: async functions over a Session and the Store, one file per command group.

Invariant: a handler returns its tagged answer as a value and knows no socket; changes to the selected mailbox reach the
client through `announcing`, never from a handler directly.
"""
