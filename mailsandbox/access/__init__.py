"""How clients read their mail: POP3, IMAP and HTTP, over one store.

`transport`, `layers` and `login` carry POP3 and IMAP; `context` is what the servers are given. The three protocols do
not know each other.
"""
