"""Archives that other programs read and write: what `import` takes and `export` makes besides our own zip.

model      one message as an archive keeps it; line ends
mbox       one file, the mboxrd kind of RFC 4155
maildir    a directory with Maildir++ folders
trees      .eml files in folders, and zips of them
reading    what a path is by its looks, and its messages one by one
writing    a new archive, which is there when it is whole and not before

Invariant: one message at a time in memory, and nothing that an archive names is read or written outside of it. Octets
are kept; only files of this system, whose lines end in LF, get CRLF (RFC 5322 §2.3), and get LF back in mbox and
Maildir, where every other program expects that. What cannot be read is named and left out; the rest goes on.
"""
