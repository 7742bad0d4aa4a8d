"""One simulated mail server (an ADMD, RFC 5598 §2.3): the stations of a message's path, joined.

    listeners (submit) ── judged, with its trace ──> accept ─┬─ local recipients ──> store ──> change log ──> readers
                                                             └─ other recipients ──> queue ──> relay ──> next site
                                                                   └─ what failed or was asked for ──> notifier ──> accept

Invariant: `accept` answers 250 only when one transaction has stored every local copy, queued every other recipient and
written the journey. No protocol logic here: what a station does is in its package.
"""
