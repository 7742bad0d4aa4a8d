"""Odd mail: what the scripts work on."""

from typing import Final

from tests.imap import messages

FLAGS: Final = ("", "\\Seen", "\\Flagged work", "\\Answered \\Draft")


def _letter(head: str, body: str = "text\r\n") -> bytes:
    return f"MIME-Version: 1.0\n{head}\n".replace("\n", "\r\n").encode() + body.encode()


_NESTED = """--o\r
Content-Type: multipart/alternative; boundary="i"\r
\r
preamble\r
--i\r
\r
plain\r
--i\r
Content-Type: text/html\r
Content-Transfer-Encoding: base64\r
\r
PGI+aHRtbDwvYj4=\r
--i--\r
epilogue\r
--o\r
Content-Type: message/rfc822\r
Content-Description: forwarded\r
\r
From: inner@x.test\r
Subject: inner\r
Content-Type: multipart/mixed; boundary=deep\r
\r
--deep\r
X-Deep: yes\r
\r
one\r
--deep\r
Content-Type: text/plain\r
Content-Transfer-Encoding: quoted-printable\r
\r
tw=6F=\r
 more\r
--deep--\r
--o--\r
trailer\r
"""

ODD: Final = [
    messages.PLAIN,
    messages.MULTIPART,
    messages.FORWARD,
    _letter('From: nest@x.test\nSubject: Re: [list] Hello\nContent-Type: multipart/mixed; boundary="o"\n', _NESTED),
    b"Subject: no body\r\n\r\n",
    b"Subject: no blank line\r\nX: y\r\n",
    b"\r\nno header at all\r\n",
    _letter("Subject: unclosed\nContent-Type: multipart/mixed; boundary=u\n", "--u\r\n\r\nfirst\r\n--u\r\n\r\nsecond"),
    _letter("Subject: no boundary parameter\nContent-Type: multipart/mixed\n", "--x\r\n\r\na\r\n--x--\r\n"),
    _letter("Subject: boundary never used\nContent-Type: multipart/mixed; boundary=nowhere\n", "nothing of it\r\n"),
    _letter("Subject: cte\nContent-Transfer-Encoding: x-unknown\n", "a=41\r\n"),
    _letter("Subject: broken base64\nContent-Transfer-Encoding: base64\n", "QUJD!!RE\r\nVG===\r\n"),
    _letter("Subject: broken qp\nContent-Transfer-Encoding: quoted-printable\n", "a=4\r\nb=ZZ=\r\n=3D \r\nend="),
    _letter("Subject: =?utf-8?b?w6k=?= =?iso-8859-1?q?=E8?= x\nFrom: =?utf-8?q?Andr=C3=A9?= <a@x.test>\n"),
    _letter("Subject: raw é\nTo: group: a@x.test, B <b@x.test>;, c@x.test\nCc: undisclosed-recipients:;\n"),
    _letter(
        "Received: from a by b; Mon, 1 Jan 1996 00:00:00 +0000\nReceived: from c\n\tby d; Tue, 2 Jan 1996 00:00 GMT\n"
        "X-Dup: one\nX-Dup: two\nx-dup:three\nSubject:  folded\n  and\n\tagain  \nDate: Fri, 1 Mar 96 25:61:00 XXX\n"
    ),
    _letter("Subject: Fwd: Re: Hello (fwd)\nReferences: <one@alpha.test> <two@alpha.test>\nMessage-ID: <r@x.test>\n"),
    _letter("Subject: [fwd: hello]\nIn-Reply-To: <r@x.test>\nDate: Thu, 10 Feb 1994 00:00:00 +0000\n"),
    _letter("Subject: re: re : re[2]: HELLO\nFrom: Zoë <z@x.test>\nDate: Thu, 10 Feb 1994 00:00:00 -1200\n"),
    _letter("Subject: \nFrom:\nTo: \nDate: nonsense\n"),
    _letter("From: <@relay.test:route@x.test>, bare, \"quo\\\"ted\" <q@x.test> (comment)\nSender: s@x.test\n"),
    _letter('Subject: params\nContent-Type: text/plain; name*0*=utf-8\'\'a%20; name*1="b"; charset=x-none; x=y\n'),
    _letter("Subject: digest\nContent-Type: multipart/digest; boundary=d\n", "--d\r\n\r\nSubject: i\r\n\r\nx\r\n--d--"),
    _letter(
        "Subject: wrapped message\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n",
        "U3ViamVjdDogaW5uZXINCg0KaGkNCg==\r\n",
    ),
    _letter("Subject: long\nX-Long: " + "y" * 5_000 + "\n", "z" * 3_000 + "\r\n"),
    _letter("Subject: text of latin\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n")
    + b"gr\xfc\xdfe\r\n",
    _letter("Content-Disposition: attachment; filename=\"x.txt\"\nContent-Language: de, en\nContent-Location: http://x/\n"
            "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-ID: <cid@x>\nSubject: all fields\n"),
]  # fmt: skip
FILLS: Final = {"few": list(messages.ALL), "odd": ODD}
