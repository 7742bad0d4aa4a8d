"""Case 9: ENVID and ORCPT."""

import pytest
from reports import read_report

from mailsandbox.message.envelope import Recipient


@pytest.mark.rfc(3461, "5.4")
async def test_envelope_id_is_decoded_in_the_report_and_original_recipient_preserved(make_rig, make_hop):
    hop = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("bob@beta.test", orcpt="rfc822;Bob+2Blists@gamma.test"), envid="QQ+2B7")
    report = read_report(rig.home[0].octets)
    assert report.message["Original-Envelope-Id"] == "QQ+7"
    assert report.recipients[0]["Original-Recipient"] == "rfc822; Bob+lists@gamma.test"
    assert report.recipients[0]["Final-Recipient"] == "rfc822; bob@beta.test"


@pytest.mark.rfc(3461, "5.2.1")
async def test_envelope_id_and_original_recipient_go_to_a_dsn_hop_unchanged(make_rig, make_hop):
    hop = await make_hop(offers=("PIPELINING", "DSN"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("bob@beta.test", orcpt="rfc822;Bob+2Blists@gamma.test"), envid="QQ+2B7", ret="HDRS")
    assert hop.messages[0].mail == "MAIL FROM:<a@alpha.test> RET=HDRS ENVID=QQ+2B7"
    assert hop.messages[0].recipients == ["RCPT TO:<bob@beta.test> ORCPT=rfc822;Bob+2Blists@gamma.test"]


@pytest.mark.rfc(3461, "4.4")
async def test_an_envelope_id_that_is_no_xtext_is_no_other_parameter_and_no_other_command(make_rig, make_hop):
    """HTTP and Python hand over what they were given."""
    hop = await make_hop(offers=("PIPELINING", "DSN"))
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send(Recipient("bob@beta.test", orcpt="rfc822;b NOTIFY=NEVER\r\nRSET"), envid="a RET=HDRS\r\nRSET")
    assert hop.messages[0].mail == "MAIL FROM:<a@alpha.test> ENVID=a+20RET+3DHDRS+0D+0ARSET"
    assert hop.messages[0].recipients == ["RCPT TO:<bob@beta.test> ORCPT=rfc822;b+20NOTIFY+3DNEVER+0D+0ARSET"]
    assert "RSET" not in hop.lines
