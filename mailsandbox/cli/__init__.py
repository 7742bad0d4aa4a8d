"""The command line: `main`, and one file per command, imported when the command is used.

main        finds the command, turns errors into a sentence and an exit code
failures    what a failed command says, in words or as JSON, and its exit code
options     options that several commands share, and a group that does something without a subcommand
daemon      finds a running daemon and talks HTTP to it
printing    tables, JSON and safe text for terminals
outgoing    one message over SMTP, octet for octet
archives/   mbox, Maildir, .eml and zip, read and written
appending   messages into a mailbox by IMAP, for `import`
progress    progress bars on a terminal

Exit codes: 0 done; 1 not found, refused or timed out; 2 wrong use or wrong configuration.
Client commands import no server library, so that they start at once.
"""
