"""Which standards are implemented, and where: the table behind `mailsandbox standards`.

A test looks for a citation of each in the packages named, so that no row outlives its code.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Standard:
    """One specification: its title, the packages that meet it, and what of it is known to be left out."""

    id: str
    title: str
    packages: tuple[str, ...]
    gaps: str = ""


STANDARDS: Final[tuple[Standard, ...]] = (
    # SMTP
    Standard("RFC 5321", "Simple Mail Transfer Protocol", ("smtp", "submit", "relay")),
    Standard("RFC 1870", "SMTP: message size declaration", ("submit", "relay")),
    Standard("RFC 1985", "SMTP: remote queue starting (ETRN)", ("submit", "mailqueue")),
    Standard("RFC 2033", "Local Mail Transfer Protocol", ("submit", "relay")),
    Standard("RFC 2034", "SMTP: returning enhanced error codes", ("submit",)),
    Standard("RFC 2852", "SMTP: Deliver By", ("smtp", "submit", "mailqueue", "relay", "deliver")),
    Standard("RFC 2920", "SMTP: command pipelining", ("submit", "relay")),
    Standard("RFC 3030", "SMTP: large and binary MIME messages", ("submit", "relay", "encoding")),
    Standard("RFC 3207", "SMTP over TLS", ("submit", "relay")),
    Standard("RFC 3461", "SMTP: delivery status notifications", ("smtp", "relay", "deliver")),
    Standard("RFC 3463", "Enhanced mail system status codes", ("smtp", "encoding")),
    Standard("RFC 3848", "ESMTP and LMTP transmission types", ("submit", "message")),
    Standard("RFC 4954", "SMTP: authentication", ("submit", "relay")),
    Standard("RFC 6152", "SMTP: 8-bit MIME transport", ("encoding", "submit")),
    Standard("RFC 6409", "Message submission", ("submit",)),
    Standard("RFC 6531", "SMTP: internationalized email", ("smtp", "submit", "encoding")),
    Standard("RFC 6647", "Greylisting", ("submit",)),
    Standard("RFC 7435", "Opportunistic security", ("relay",)),
    Standard("RFC 7505", "Null MX", ("relay",)),
    Standard("RFC 6698", "DANE: TLSA records", ("relay",)),
    Standard("RFC 7672", "SMTP security via DANE", ("relay",), "DNSSEC is simulated"),
    Standard("RFC 8314", "Cleartext considered obsolete: implicit TLS", ("submit", "access.pop3")),
    Standard("RFC 7671", "DANE: updates and operational guidance", ("relay",)),
    Standard(
        "RFC 8461",
        "SMTP MTA Strict Transport Security",
        ("relay",),
        "policies come from the simulated zone, not by HTTPS",
    ),
    Standard("RFC 8689", "SMTP: REQUIRETLS", ("submit", "message", "relay", "deliver")),
    Standard("RFC 9422", "SMTP: LIMITS", ("submit", "smtp", "relay")),
    # Messages
    Standard("RFC 5322", "Internet Message Format", ("message",)),
    Standard("RFC 1428", "Transition from 8-bit to MIME", ("encoding",)),
    Standard("RFC 1847", "Security multiparts", ("encoding",)),
    Standard("RFC 2045", "MIME part one: format of message bodies", ("message", "encoding")),
    Standard("RFC 2046", "MIME part two: media types", ("message", "encoding")),
    Standard("RFC 2047", "MIME part three: non-ASCII text in headers", ("message", "encoding")),
    Standard("RFC 2183", "Content-Disposition", ("message",)),
    Standard("RFC 2231", "MIME parameter values: charsets, continuations", ("message", "encoding")),
    Standard("RFC 3464", "Format of delivery status notifications", ("deliver",)),
    Standard("RFC 3834", "Automatic responses", ("deliver",)),
    Standard("RFC 5891", "Internationalized domain names", ("message", "encoding")),
    Standard("RFC 6376", "DKIM signatures", ("encoding",), "verified with dkimpy, an extra"),
    Standard("RFC 6522", "multipart/report", ("deliver",)),
    Standard("RFC 6532", "Internationalized email headers", ("encoding", "deliver")),
    Standard("RFC 6533", "Internationalized delivery status notifications", ("smtp", "deliver")),
    Standard("RFC 9228", "Delivered-To", ("deliver", "message")),
    # POP3
    Standard("RFC 1939", "Post Office Protocol version 3", ("access.pop3",)),
    Standard("RFC 2449", "POP3: extension mechanism", ("access.pop3",)),
    Standard("RFC 2595", "TLS with IMAP and POP3", ("access.pop3", "access.transport")),
    Standard("RFC 3206", "POP3: SYS and AUTH response codes", ("access.pop3",)),
    Standard("RFC 5034", "POP3: SASL", ("access.pop3",)),
    Standard("RFC 6856", "POP3: UTF-8", ("access.pop3",)),
    # IMAP
    Standard("RFC 9051", "IMAP4rev2", ("access.imap",)),
    Standard("RFC 3501", "IMAP4rev1", ("access.imap",)),
    Standard("RFC 2177", "IMAP: IDLE", ("access.imap",)),
    Standard("RFC 2342", "IMAP: NAMESPACE", ("access.imap",)),
    Standard("RFC 2971", "IMAP: ID", ("access.imap",)),
    Standard("RFC 3348", "IMAP: CHILDREN", ("access.imap",)),
    Standard("RFC 3502", "IMAP: MULTIAPPEND", ("access.imap",)),
    Standard("RFC 3516", "IMAP: BINARY", ("access.imap",)),
    Standard("RFC 3691", "IMAP: UNSELECT", ("access.imap",)),
    Standard("RFC 4315", "IMAP: UIDPLUS", ("access.imap", "store")),
    Standard("RFC 4469", "IMAP: CATENATE", ("access.imap",)),
    Standard("RFC 4731", "IMAP: ESEARCH", ("access.imap",)),
    Standard("RFC 4959", "IMAP: SASL initial response", ("access.imap",)),
    Standard("RFC 4978", "IMAP: COMPRESS", ("access.imap", "access.transport")),
    Standard("RFC 5032", "IMAP: WITHIN", ("access.imap",)),
    Standard("RFC 5051", "i;unicode-casemap collation", ("message",)),
    Standard("RFC 5161", "IMAP: ENABLE", ("access.imap",)),
    Standard("RFC 5182", "IMAP: SEARCHRES", ("access.imap",)),
    Standard("RFC 5255", "IMAP: internationalization", ("access.imap",), "level 1, without LANGUAGE"),
    Standard("RFC 5256", "IMAP: SORT and THREAD", ("access.imap", "message")),
    Standard("RFC 5258", "IMAP: LIST extensions", ("access.imap",)),
    Standard("RFC 5267", "IMAP: contexts for SEARCH and SORT", ("access.imap",)),
    Standard("RFC 5423", "Internet message store events", ("store", "access.http")),
    Standard("RFC 5464", "IMAP: METADATA", ("access.imap", "store")),
    Standard("RFC 5465", "IMAP: NOTIFY", ("access.imap",), "FlagChange is taken without MessageNew too"),
    Standard("RFC 5819", "IMAP: LIST-STATUS", ("access.imap",)),
    Standard("RFC 5957", "IMAP: SORT=DISPLAY", ("access.imap",)),
    Standard("RFC 6154", "IMAP: special-use mailboxes", ("access.imap",)),
    Standard("RFC 6851", "IMAP: MOVE", ("access.imap", "store")),
    Standard("RFC 6855", "IMAP: UTF-8", ("access.imap",)),
    Standard("RFC 7162", "IMAP: CONDSTORE and QRESYNC", ("access.imap", "store")),
    Standard("RFC 7888", "IMAP: LITERAL+ and LITERAL-", ("access.imap",)),
    Standard("RFC 7889", "IMAP: APPENDLIMIT", ("access.imap",)),
    Standard("RFC 8438", "IMAP: STATUS=SIZE", ("access.imap",)),
    Standard("RFC 8474", "IMAP: OBJECTID", ("access.imap", "store")),
    Standard("RFC 8508", "IMAP: REPLACE", ("access.imap",)),
    Standard("RFC 8514", "IMAP: SAVEDATE", ("access.imap", "store")),
    Standard("RFC 8970", "IMAP: PREVIEW", ("access.imap", "message")),
    Standard("RFC 9208", "IMAP: QUOTA", ("access.imap",)),
    Standard("RFC 9394", "IMAP: PARTIAL", ("access.imap",)),
    Standard("RFC 9585", "IMAP: INPROGRESS", ("access.imap",)),
    Standard("RFC 9586", "IMAP: UIDONLY", ("access.imap",)),
    Standard("RFC 9590", "IMAP: metadata in LIST", ("access.imap",)),
    # Authentication
    Standard("RFC 4422", "SASL", ("sasl", "access.pop3")),
    Standard("RFC 2195", "CRAM-MD5", ("sasl",)),
    Standard("RFC 4013", "SASLprep", ("sasl",)),
    Standard("RFC 4616", "SASL PLAIN", ("sasl",)),
    Standard("RFC 5802", "SCRAM", ("sasl",), "no channel binding"),
    Standard("RFC 7677", "SCRAM-SHA-256", ("sasl",)),
    Standard("RFC 7628", "SASL OAUTHBEARER", ("sasl",)),
    # HTTP
    Standard("RFC 9110", "HTTP semantics", ("access.http",)),
    Standard("RFC 6202", "Known issues of long polling and streaming", ("access.http",)),
    Standard("RFC 6455", "The WebSocket protocol", ("access.http",)),
    Standard("RFC 7240", "Prefer header", ("access.http",)),
    Standard("RFC 9457", "Problem details", ("access.http",)),
    Standard("WHATWG HTML §9.2", "Server-sent events", ("access.http",)),
)
