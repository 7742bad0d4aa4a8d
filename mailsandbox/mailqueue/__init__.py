"""The relay queue: one state per recipient, when to try next, and who holds the lease.

    model          values: what is queued, outcomes, what couriers are given and give back      (pure)
    moves          the table of legal moves, with commit points and what a crash leaves          (pure)
    schedule       back-off, deadlines, what is due when                                         (pure)
    settling       what an attempt's outcomes mean for the recipients                            (pure)
    destinations   how many attempts run at once towards each destination                       (pure)
    memory         messages in memory, and the budget of large ones
    spool          the rows, in SQL that SQLite and PostgreSQL share
    attempts       from a waiting job to the one transaction that writes down what came of it
    runner         Queue: the way in, the clock, and what operators ask for

Knows no SMTP: a `Courier` carries the messages.
"""
