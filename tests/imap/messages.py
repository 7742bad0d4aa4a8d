"""The messages that the transcripts work on: `! fill` appends them in this order."""

PLAIN = (
    b"From: Alice <alice@alpha.test>\r\n"
    b"To: Bob <bob@beta.test>\r\n"
    b"Subject: Hello\r\n"
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
    b"Message-ID: <one@alpha.test>\r\n"
    b"\r\n"
    b"Hi Bob\r\n"
)

MULTIPART = (
    b"From: carol@alpha.test\r\n"
    b"To: bob@beta.test\r\n"
    b"Cc: dan@beta.test\r\n"
    b"Subject: Re: Hello\r\n"
    b"Date: Tue, 8 Feb 1994 10:00:00 +0000\r\n"
    b"Message-ID: <two@alpha.test>\r\n"
    b"In-Reply-To: <one@alpha.test>\r\n"
    b"References: <one@alpha.test>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b1"\r\n'
    b"\r\n"
    b"--b1\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n"
    b"\r\n"
    b"caf=C3=A9\r\n"
    b"--b1\r\n"
    b'Content-Type: application/octet-stream; name="x.bin"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b"\r\n"
    b"AAECAw==\r\n"
    b"--b1--\r\n"
)

FORWARD = (
    b"From: dan@beta.test\r\n"
    b"To: bob@beta.test\r\n"
    b"Subject: =?utf-8?q?d=C3=A9j=C3=A0_vu?=\r\n"
    b"Date: Wed, 9 Feb 1994 12:00:00 +0100\r\n"
    b"Message-ID: <three@beta.test>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: message/rfc822\r\n"
    b"\r\n"
    b"From: eve@gamma.test\r\n"
    b"Subject: inner\r\n"
    b"\r\n"
    b"inner body\r\n"
)

ALL = (PLAIN, MULTIPART, FORWARD)
