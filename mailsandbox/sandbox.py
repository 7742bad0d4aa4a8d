"""The sites, their links, one clock, one store, and the servers by which the mail is read.

Invariant: `start` either brings up every service or raises StartError with nothing left running; `aclose` may be called
at any time and again. Knows no loop policy, thread or signal: that is `runtime`.
"""
