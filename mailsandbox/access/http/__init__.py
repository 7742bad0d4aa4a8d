"""The native HTTP interface: reads, deletes, sends, watches; and the levers of a test (clock, faults, queue, reset).

Read `app` for the table of routes, `gate` for what every request passes first, `server` for the sockets. `feed` is the
log of changes in the form that all delivery models share; `waiting` is used without HTTP too.
"""
