"""A client or another site hands a message over by SMTP, submission or LMTP: aiosmtpd, with what it lacks.

listener      sockets, what connections share        gate          the end of data: judge, complete, trace
connection    octets to lines, lines to commands     transaction   MAIL and RCPT; Client and Transaction
receiving     DATA and BDAT to a message             conversation  what is offered and decided, sans I/O
wire          replies, record, time, faults          spool         memory bound for messages coming in
commands      aiosmtpd's commands, and others        handler       aiosmtpd's hooks, AUTH mechanisms
legible       what of a client's lines is remembered
handover      the same gate for messages in process
"""
