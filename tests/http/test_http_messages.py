"""Lists, single messages, deletes."""

import asyncio

import pytest

BOB = "bob@beta.test"
NESTED = b"""From: Alice <alice@alpha.test>
To: bob@beta.test
Subject: nested
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

d=E9j=E0 vu
--inner
Content-Type: text/html; charset=utf-8

<p>vu <img src="cid:logo@alpha.test"></p><script>alert(1)</script>
--inner--
--outer
Content-Type: image/png; name="../e'vil\xc3\xa9.png"
Content-ID: <logo@alpha.test>
Content-Disposition: attachment; filename="../e'vil.png"
Content-Transfer-Encoding: base64

iVBORw0KGgo=
--outer
Content-Type: message/rfc822

Subject: held

inside
--outer--
""".replace(b"\n", b"\r\n")


async def test_list_shows_newest_first_and_pages_by_cursor(house):
    for number in range(5):
        await house.deliver(octets=b"Subject: n%d\r\n\r\n.\r\n" % number)
    first = (await house.client.get("/v1/messages", params={"limit": 3})).json()
    assert [message["subject"] for message in first["messages"]] == ["n4", "n3", "n2"]
    second = (await house.client.get("/v1/messages", params={"limit": 3, "after": first["next"]})).json()
    assert [message["subject"] for message in second["messages"]] == ["n1", "n0"]
    assert second["next"] is None


async def test_a_summary_has_exactly_the_documented_members(house):
    landed = await house.deliver()
    (message,) = (await house.client.get("/v1/messages")).json()["messages"]
    assert list(message) == [
        "id", "account", "mailbox", "uid", "subject", "from", "to", "received_at", "octets", "flags", "attachments",
    ]  # fmt: skip
    assert message["id"] == landed.message_id
    assert (message["subject"], message["account"], message["uid"]) == ("Été", BOB, 1)
    assert message["octets"] == landed.octets


@pytest.mark.parametrize(
    ("parameters", "fits"),
    [
        ({"account": BOB}, True),
        ({"account": "eve@beta.test"}, False),
        ({"to": "bob@"}, True),
        ({"to": "eve@"}, False),
        ({"from": "ALICE"}, True),
        ({"from": "eve"}, False),
        ({"subject": "été"}, True),
        ({"subject": "hiver"}, False),
        ({"text": "hello bob"}, True),
        ({"text": "goodbye"}, False),
    ],
)
async def test_each_filter_selects(house, parameters, fits):
    await house.deliver()
    found = (await house.client.get("/v1/messages", params=parameters)).json()["messages"]
    assert bool(found) is fits


async def test_metadata_carries_header_and_mime_tree(house):
    landed = await house.deliver(octets=NESTED, trace=b"Return-Path: <alice@alpha.test>\r\n")
    message = (await house.client.get(f"/v1/messages/{landed.message_id}")).json()
    assert message["headers"][0] == {"name": "Return-Path", "value": "<alice@alpha.test>"}
    assert {"name": "Subject", "value": "nested"} in message["headers"]
    tree = message["mime"]
    assert tree["content_type"] == "multipart/mixed"
    assert [(part["number"], part["content_type"]) for part in tree["parts"]] == [
        ("1", "multipart/alternative"),
        ("2", "image/png"),
        ("3", "message/rfc822"),
    ]
    assert [part["number"] for part in tree["parts"][0]["parts"]] == ["1.1", "1.2"]
    assert "url" not in tree["parts"][0]
    assert message["attachments"] >= 1


async def test_raw_gives_exactly_the_octets_with_their_trace(house):
    octets = b"Subject: raw\r\n\r\n\x00\xff bare\nLF and\rCR\r\n"
    landed = await house.deliver(octets=octets, trace=b"Return-Path: <>\r\n")
    answer = await house.client.get(f"/v1/messages/{landed.message_id}/raw")
    assert answer.content == b"Return-Path: <>\r\n" + octets
    assert answer.headers["content-type"] == "message/rfc822"


@pytest.mark.rfc(9110, "13.1.2")
async def test_a_message_that_the_client_has_is_304(house):
    landed = await house.deliver()
    url = f"/v1/messages/{landed.message_id}/raw"
    tag = (await house.client.get(url)).headers["etag"]
    again = await house.client.get(url, headers={"If-None-Match": f'W/"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")


async def test_each_part_is_served_decoded_with_its_own_type(house):
    landed = await house.deliver(octets=NESTED, trace=b"X-Trace: moves every offset\r\n")
    base = f"/v1/messages/{landed.message_id}/parts"
    plain = await house.client.get(f"{base}/1.1")
    assert plain.content == b"d\xe9j\xe0 vu"
    assert plain.headers["content-type"] == "text/plain; charset=iso-8859-1"
    image = await house.client.get(f"{base}/2")
    assert image.content == b"\x89PNG\r\n\x1a\n"
    assert image.headers["content-type"] == "image/png"
    assert image.headers["content-disposition"].startswith("attachment; ")
    assert "/" not in image.headers["content-disposition"]
    held = await house.client.get(f"{base}/3")
    assert held.content == b"Subject: held\r\n\r\ninside"


async def test_no_part_of_a_message_may_run_scripts_or_be_sniffed(house):
    landed = await house.deliver(octets=NESTED)
    for path in ("raw", "html", "text", "parts/1.2", "parts/2"):
        answer = await house.client.get(f"/v1/messages/{landed.message_id}/{path}")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'"), path
        assert "allow-" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.rfc(2392, "2")
async def test_html_is_utf8_and_its_cid_references_lead_to_the_parts(house):
    landed = await house.deliver(octets=NESTED)
    answer = await house.client.get(f"/v1/messages/{landed.message_id}/html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<img src="parts/2">' in answer.text
    assert (await house.client.get(f"/v1/messages/{landed.message_id}/parts/2")).is_success


async def test_text_is_utf8_whatever_the_part_was(house):
    landed = await house.deliver(octets=NESTED)
    answer = await house.client.get(f"/v1/messages/{landed.message_id}/text")
    assert (answer.text, answer.headers["content-type"]) == ("déjà vu", "text/plain; charset=utf-8")


async def test_text_of_a_message_with_html_only_is_what_can_be_seen(house):
    octets = b"Content-Type: text/html\r\n\r\n<style>x</style><p>seen &amp; read</p>\r\n"
    landed = await house.deliver(octets=octets)
    assert "seen & read" in (await house.client.get(f"/v1/messages/{landed.message_id}/text")).text
    assert (await house.client.get(f"/v1/messages/{landed.message_id}/html")).is_success


@pytest.mark.parametrize("path", ["parts/9", "parts/1.1", "html"])
async def test_what_a_message_does_not_have_is_404(house, path):
    landed = await house.deliver()
    answer = await house.client.get(f"/v1/messages/{landed.message_id}/{path}")
    assert (answer.status_code, answer.json()["title"]) == (404, "No such part")


@pytest.mark.parametrize("message_id", ["1-999", "0-0", "x", "-1", "1-1-1", "%00", "9" * 400, "é"])
@pytest.mark.parametrize("path", ["", "/raw", "/parts/1", "/html", "/text", "/journey"])
async def test_an_unknown_id_is_404_whatever_it_looks_like(house, message_id, path):
    await house.deliver()
    answer = await house.client.get(f"/v1/messages/{message_id}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_delete_removes_one_message_and_the_log_says_so(house):
    landed = await house.deliver()
    assert (await house.client.delete(f"/v1/messages/{landed.message_id}")).status_code == 204
    assert (await house.client.delete(f"/v1/messages/{landed.message_id}")).status_code == 404
    log = (await house.client.get(f"/v1/accounts/{BOB}/changes")).json()
    assert [change["type"] for change in log["changes"]][-1] == "MessageExpunge"


async def test_delete_of_an_account_empties_all_its_mailboxes_and_no_other_account(house):
    await asyncio.gather(house.deliver(), house.deliver(), house.deliver("eve@beta.test"))
    assert (await house.client.delete("/v1/messages", params={"account": BOB})).status_code == 204
    left = (await house.client.get("/v1/messages")).json()["messages"]
    assert [message["account"] for message in left] == ["eve@beta.test"]


async def test_delete_without_an_account_deletes_nothing(house):
    await house.deliver()
    assert (await house.client.delete("/v1/messages")).status_code == 422
    assert len((await house.client.get("/v1/messages")).json()["messages"]) == 1
