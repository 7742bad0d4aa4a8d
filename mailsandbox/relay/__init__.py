"""One attempt at the next server: where to, whether that is allowed, how safely, and what is said there.

zone, routes   the simulated DNS, static routes, the default route                           (pure)
allow          the addresses that may be connected to                                        (pure)
tls            how safe a hop must be: levels, MTA-STS, DANE, REQUIRETLS                     (pure)
parameters     MAIL and RCPT lines for a hop's extensions                                    (pure)
transaction    MAIL, RCPT, DATA or BDAT, pipelined; replies in, octets out                   (sans I/O)
opening        connect, EHLO, STARTTLS, AUTH                                                 (aiosmtplib)
connection     transactions on the opened transport
pool           connections kept for the next message
record         what the journey shows of a hop
visit          one message at one hop
courier        one message at the hops of one destination
"""
