"""POST /v1/send, both forms."""

import base64
import dataclasses

import pytest

from mailsandbox.access.http.context import HttpOptions
from mailsandbox.message.rendering import render
from mailsandbox.smtp.replies import reply

MESSAGE = b"Subject: as it is\r\n\r\n\x00\xff\r\n.\r\n"


async def composed(house, **pieces):
    return await house.client.post("/v1/send", json={"from": "alice@alpha.test", "to": ["bob@beta.test"]} | pieces)


async def given(house, query: str, octets: bytes = MESSAGE):
    return await house.client.post(f"/v1/send?{query}", content=octets, headers={"Content-Type": "message/rfc822"})


async def test_the_answer_carries_the_submission_id(house):
    answer = await composed(house, subject="hello", text="there")
    assert answer.status_code == 202
    sent = answer.json()
    assert (sent["id"], sent["queue_id"]) == ("j1", "q1")
    assert answer.headers["location"] == "/v1/journeys/j1"
    ((_, octets, _),) = house.site.taken
    assert sent["message_id"] == render(octets).message_id


async def test_a_message_is_composed_of_its_pieces(house):
    picture = base64.b64encode(b"\x89PNG").decode()
    await composed(
        house,
        **{"from": "Zoé <zoe@alpha.test>"},
        cc=["Carl <carl@beta.test>"],
        bcc=["dora@beta.test"],
        subject="Été",
        text="déjà vu",
        html="<b>déjà vu</b>",
        attachments=[{"filename": "x.png", "content": picture}],
        headers={"X-Test": "1"},
    )
    ((envelope, octets, _),) = house.site.taken
    assert envelope.reverse_path == "zoe@alpha.test"
    assert envelope.addresses == ["bob@beta.test", "carl@beta.test", "dora@beta.test"]
    assert envelope.body == "8BITMIME"
    rendered = render(octets)
    assert (rendered.subject, rendered.attachments) == ("Été", 1)
    assert b"dora" not in octets
    assert b"X-Test: 1\r\n" in octets


@pytest.mark.parametrize(
    ("body", "declared"), [("7bit", "7BIT"), ("8bitmime", "8BITMIME"), ("binarymime", "BINARYMIME")]
)
async def test_the_body_parameter_decides_the_encoding(house, body, declared):
    await composed(house, text="é", body=body)
    ((envelope, octets, _),) = house.site.taken
    assert envelope.body == declared
    assert octets.isascii() is (body == "7bit")


async def test_octets_go_as_they_are_with_the_envelope_of_the_query(house):
    query = (
        "from=a%2Bb@alpha.test&to=bob@beta.test&to=carl@beta.test&body=8bitmime&smtputf8=true"
        "&ret=HDRS&envid=e1&notify=SUCCESS,FAILURE"
    )
    answer = await given(house, query)
    assert answer.status_code == 202
    ((envelope, octets, _),) = house.site.taken
    assert octets == MESSAGE
    assert (envelope.reverse_path, envelope.addresses) == ("a+b@alpha.test", ["bob@beta.test", "carl@beta.test"])
    assert (envelope.body, envelope.smtputf8, envelope.ret, envelope.envid) == ("8BITMIME", True, "HDRS", "e1")
    assert envelope.recipients[0].notify == {"SUCCESS", "FAILURE"}


@pytest.mark.rfc(3461, "4.4")
async def test_the_envelope_id_is_taken_as_it_is_meant_and_goes_on_as_xtext(house):
    answer = await given(house, "from=a@alpha.test&to=b@beta.test&envid=no.%207%20NOTIFY%3DNEVER")
    assert answer.status_code == 202
    ((envelope, _, _),) = house.site.taken
    assert envelope.envid == "no.+207+20NOTIFY+3DNEVER"


@pytest.mark.rfc(3461, "4.4")
@pytest.mark.parametrize("envid", ["a%0D%0ARSET", "a%0A", "%C3%A9", "%7F", "x" * 101, "%2B" * 34])
async def test_an_envelope_id_that_is_not_printable_ascii_or_too_long_is_refused(house, envid):
    answer = await given(house, f"from=a@alpha.test&to=b@beta.test&envid={envid}")
    assert answer.status_code == 422
    assert "envid" in answer.text
    assert not house.site.taken


@pytest.mark.parametrize("parameter", ["ret=FULL%0A", "ret=full", "body=7bit%0A", "body=9bit"])
async def test_a_word_that_is_none_of_those_is_refused(house, parameter):
    answer = await given(house, f"from=a@alpha.test&to=b@beta.test&{parameter}")
    assert answer.status_code == 422
    assert not house.site.taken


async def test_an_empty_reverse_path_is_one(house):
    assert (await given(house, "from=&to=bob@beta.test")).status_code == 202
    assert house.site.taken[0][0].reverse_path == ""


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("to=bob@beta.test", "?from"),
        ("from=a@alpha.test", "?to"),
        ("from=nobody&to=bob@beta.test", "?from"),
        ("from=a@alpha.test&to=b%0d%0a@beta.test", "?to"),
        ("from=a@alpha.test&to=b@beta.test&body=16bit", "?body"),
        ("from=a@alpha.test&to=b@beta.test&smtputf8=perhaps", "?smtputf8"),
        ("from=a@alpha.test&to=b@beta.test&notify=NEVER,DELAY", "?notify"),
        ("from=a@alpha.test&to=b@beta.test&x=1", "?x"),
    ],
)
async def test_a_wrong_envelope_is_named(house, query, where):
    answer = await given(house, query)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, where)
    assert house.site.taken == []


@pytest.mark.parametrize(
    ("pieces", "where"),
    [
        ({"to": []}, "/to"),
        ({"to": ["not an address"]}, "/to/0"),
        ({"from": "a@alpha.test\r\nBcc: x"}, "/from"),
        ({"cc": ["a@b.test", "c@"]}, "/cc/1"),
        ({"subjekt": "x"}, "/subjekt"),
        ({"subject": 1}, "/subject"),
        ({"attachments": [{"filename": "x", "content": "###"}]}, "/attachments/0/content"),
        ({"body": "9bit"}, "/body"),
    ],
)
async def test_a_wrong_piece_is_named(house, pieces, where):
    answer = await composed(house, **pieces)
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, where)
    assert house.site.taken == []


async def test_a_header_cannot_be_added_by_a_line_break(house):
    await composed(house, subject="x\r\nBcc: eve@evil.test", headers={"X-A": "1\r\nX-B: 2"})
    ((_, octets, _),) = house.site.taken
    assert b"\r\nBcc:" not in octets
    assert b"\r\nX-B:" not in octets


@pytest.mark.parametrize(("said", "status"), [(reply(452, "4.3.1", "full"), 503), (reply(550, "5.6.1", "8-bit"), 422)])
async def test_a_refusal_shows_the_reply_that_smtp_would_have_given(house, said, status):
    house.site.answer = said
    answer = await composed(house)
    assert answer.status_code == status
    assert answer.json()["reply"] == {"code": said.code, "enhanced": said.enhanced, "lines": list(said.lines)}


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_415(house, media_type):
    answer = await house.client.post("/v1/send", content=b"x", headers={"Content-Type": media_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("octets", [b"{", b"\xff", b'{"from": "a@b.test"', b"x"])
async def test_what_is_no_json_is_400(house, octets):
    answer = await house.client.post("/v1/send", content=octets, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["title"]) == (400, "Not json")


class TestLimit:
    """Bodies over the limit."""

    @pytest.fixture
    def options(self):
        return dataclasses.replace(HttpOptions(), max_body=1000)

    async def test_a_body_over_the_limit_is_413_declared_or_not(self, house):
        query = "from=a@alpha.test&to=b@beta.test"
        assert (await given(house, query, b"x" * 1000)).status_code == 202
        assert (await given(house, query, b"x" * 1001)).status_code == 413

        async def chunks():
            for _ in range(11):
                yield b"x" * 100

        answer = await given(house, query, chunks())
        assert answer.status_code == 413
