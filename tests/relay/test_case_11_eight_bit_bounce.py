"""Case 11: the bounce of an 8-bit original over a hop without 8BITMIME."""

import pytest
from reports import read_report

from mailsandbox.encoding import prepare

EIGHT_BIT = (
    "From: a@away.test\r\nSubject: test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nÜber die Brücke\r\n"
).encode()
SIGNED = (
    "From: a@away.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; micalg=pgp-sha256;"
    ' protocol="application/pgp-signature"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
    "Content-Transfer-Encoding: 8bit\r\n\r\nÜber\r\n--b\r\n"
    "Content-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
).encode()
LATIN = b"From: a@away.test\r\nSubject: Gr\xfc\xdfe\r\n\r\n\xfc\r\n"


async def bounce_over(make_rig, make_hop, octets, **options):
    failing = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    back = await make_hop(offers=("PIPELINING",))
    rig = await make_rig(prepare=prepare, **options)
    rig.route("beta.test", failing)
    rig.route("away.test", back)
    await rig.send("b@beta.test", octets=octets, sender="a@away.test", body="8BITMIME")
    await rig.queue.quiet()
    assert [got.mail.split()[1] for got in back.messages] == ["FROM:<>"]
    return read_report(back.messages[0].octets)


@pytest.mark.rfc(3464, "2.1")
@pytest.mark.parametrize("octets", [EIGHT_BIT, SIGNED, LATIN])
async def test_notification_is_valid_seven_bit_and_returns_the_original_to_the_octet(make_rig, make_hop, octets):
    report = await bounce_over(make_rig, make_hop, octets)
    assert report.returned_type == "message/global"
    assert report.returned == octets


async def test_with_the_relays_conversion_the_original_comes_back_as_seven_bit_message(make_rig, make_hop):
    report = await bounce_over(make_rig, make_hop, EIGHT_BIT, convert=True)
    assert report.returned_type == "message/rfc822"
    assert report.returned.isascii()
    assert b"=C3=9Cber" in report.returned


async def test_what_no_conversion_may_touch_comes_back_to_the_octet_even_then(make_rig, make_hop):
    report = await bounce_over(make_rig, make_hop, SIGNED, convert=True)
    assert report.returned_type == "message/global"
    assert report.returned == SIGNED
