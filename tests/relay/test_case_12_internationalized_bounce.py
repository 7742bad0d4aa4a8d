"""Case 12: the bounce of an SMTPUTF8 message over a return hop without SMTPUTF8."""

import pytest
from reports import read_report

from mailsandbox.encoding import prepare
from mailsandbox.message.envelope import Recipient

MESSAGE = "From: a@away.test\r\nTo: jörg@beta.test\r\nSubject: Grüße\r\n\r\nHallo\r\n".encode()


@pytest.mark.rfc(6533, "3")
async def test_notification_arrives_with_the_address_in_its_ascii_form(make_rig, make_hop):
    failing = await make_hop(
        offers=("PIPELINING", "8BITMIME", "SMTPUTF8"),
        decide=lambda verb, line: "550 5.1.1 jörg unbekannt" if verb == "RCPT" else None,
    )
    back = await make_hop(offers=("PIPELINING",))
    rig = await make_rig(prepare=prepare)
    rig.route("beta.test", failing)
    rig.route("away.test", back)
    await rig.send(Recipient("jörg@beta.test"), octets=MESSAGE, sender="a@away.test", smtputf8=True, body="8BITMIME")
    report = read_report(back.messages[0].octets)
    [fields] = report.recipients
    assert fields["Final-Recipient"] == "utf-8; j\\x{F6}rg@beta.test"
    assert fields["Diagnostic-Code"] == "smtp; 550 5.1.1 j\\xf6rg unbekannt"
    assert "jörg@beta.test" in report.text
    assert report.returned_type == "message/global"
    assert report.returned == MESSAGE


@pytest.mark.rfc(6533, "3")
async def test_original_recipient_of_type_utf_8_is_passed_in_ascii_to_a_hop_without_smtputf8(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "DSN"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("bob@beta.test", orcpt="utf-8;jörg@alpha.test"))
    assert hop.messages[0].recipients == ["RCPT TO:<bob@beta.test> ORCPT=utf-8;j\\x{F6}rg@alpha.test"]


@pytest.mark.rfc(6531, "3.2")
async def test_address_that_no_hop_without_smtputf8_can_have_bounces_5_6_7_after_all_exchangers_were_asked(
    make_rig, make_hop
):
    first, second = await make_hop(offers=("PIPELINING",)), await make_hop(offers=("PIPELINING",))
    rig = await make_rig(prepare=prepare)
    rig.zone(
        {
            "beta.test": {"MX": ["10 mx1.beta.test", "20 mx2.beta.test"]},
            "mx1.beta.test": {"A": "127.0.0.1", "port": first.port},
            "mx2.beta.test": {"A": "127.0.0.1", "port": second.port},
        }
    )
    queue_id = await rig.send(Recipient("jörg@beta.test"), octets=MESSAGE, smtputf8=True)
    assert [one.host for one in rig.attempts(queue_id)] == ["mx1.beta.test", "mx2.beta.test"]
    assert read_report(rig.home[0].octets).recipients[0]["Status"] == "5.6.7"


async def test_exchanger_that_offers_smtputf8_is_found_behind_one_that_does_not(make_rig, make_hop):
    first = await make_hop(offers=("PIPELINING",))
    second = await make_hop(offers=("PIPELINING", "8BITMIME", "SMTPUTF8"))
    rig = await make_rig(prepare=prepare)
    rig.zone(
        {
            "beta.test": {"MX": ["10 mx1.beta.test", "20 mx2.beta.test"]},
            "mx1.beta.test": {"A": "127.0.0.1", "port": first.port},
            "mx2.beta.test": {"A": "127.0.0.1", "port": second.port},
        }
    )
    await rig.send(Recipient("jörg@beta.test"), octets=MESSAGE, smtputf8=True)
    assert len(second.messages) == 1
    assert rig.home == []
