"""From command octets to frozen command values; one file per command group. Pure.

Invariant: whatever the octets, a parser gives a value or raises GrammarError, in time linear in their number.
Knows no state: whether a command is allowed now is the session's matter.
"""
