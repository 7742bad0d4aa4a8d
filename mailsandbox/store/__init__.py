"""Accounts, mailboxes, messages, and the numbered log of every change made to them."""
