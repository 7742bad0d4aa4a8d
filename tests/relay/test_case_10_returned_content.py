"""Case 10: RET."""

import pytest
from reports import read_report
from rig import PLAIN

LARGE = PLAIN + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1000


@pytest.mark.rfc(3461, "4.3")
@pytest.mark.parametrize(
    ("ret", "octets", "kind"),
    [
        ("HDRS", PLAIN, "text/rfc822-headers"),
        ("FULL", PLAIN, "message/rfc822"),
        ("FULL", LARGE, "message/rfc822"),
        ("", PLAIN, "message/rfc822"),
        ("", LARGE, "text/rfc822-headers"),
    ],
)
async def test_failed_message_comes_back_as_ret_asks(make_rig, make_hop, ret, octets, kind):
    hop = await make_hop(decide=lambda verb, line: "550 5.1.1 unknown" if verb == "RCPT" else None)
    rig = await make_rig()
    rig.route("beta.test", hop)
    await rig.send("b@beta.test", octets=octets, ret=ret)
    report = read_report(rig.home[0].octets)
    assert report.returned_type == kind
    assert report.returned == (octets if kind == "message/rfc822" else octets.partition(b"\r\n\r\n")[0] + b"\r\n")
