"""The end of a message's path at a site: into a mailbox, or back to the sender as a delivery status notification.

placing         where each recipient goes: a mailbox, the queue, an alias's members, or nowhere
aliases         addresses that stand for others                                             (pure)
local           the trace of final delivery                                                  (pure)
notifications   notifications as octets                                                      (pure)
wording         what they say to people                                                      (pure)
notifier        from the queue's reports to notifications on the normal path
"""
