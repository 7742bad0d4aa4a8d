"""Accounts, sessions, queues, clock, faults, reset, journeys: what a test asks for and moves."""

import pytest

from mailsandbox.clock import SystemClock
from mailsandbox.errors import NoSuchQueueItem
from mailsandbox.journey.model import Accepted, EnvelopeRecord, TranscriptLine
from mailsandbox.mailqueue.model import QueuedItem, QueuedRecipient, RecipientStatus
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.findings import Finding
from mailsandbox.smtp.replies import reply
from mailsandbox.store.credentials import AccountSpec, Credentials

BOB = "bob@beta.test"


class Queue:
    """One queued item, and what was done to it."""

    def __init__(self, queue_id: str) -> None:
        envelope = Envelope("alice@alpha.test", (Recipient(BOB),))
        row = QueuedRecipient(0, envelope.recipients[0], RecipientStatus.WAITING, 2, 1_790_000_060.0, False,
                              reply(451, "4.7.1", "later"), "mx.beta.test")  # fmt: skip
        self.kept = QueuedItem(queue_id, "j1", "alpha", envelope, 1_790_000_000.0, 321, False, (row,))
        self.done: list[str] = []

    async def items(self):
        return [self.kept]

    async def item(self, queue_id):
        if queue_id != self.kept.queue_id or "remove" in self.done:
            raise NoSuchQueueItem(queue_id)
        return self.kept

    def __getattr__(self, name):
        if name not in ("hold", "release", "retry", "remove", "run", "bounce"):
            raise AttributeError(name)

        async def act(*_):
            self.done.append(name)
            return 1

        return act


@pytest.fixture
def queues(house):
    queues = {"alpha": Queue("Q1"), "beta": Queue("Q2")}
    house.context.queues = queues
    return queues


async def test_the_services_are_told_as_in_the_ready_file(house):
    house.context.services = {"alpha.smtp": "127.0.0.1:1025", "lmtp": "unix:/run/lmtp", "imap": "[::1]:1143"}
    answer = await house.client.get("/v1/services")
    assert answer.json() == {"services": house.context.services}


async def test_accounts_come_into_being_by_post_and_go_by_delete(house):
    answer = await house.client.post("/v1/accounts", json={"address": "New@Beta.test"})
    assert (answer.status_code, answer.json()["address"]) == (201, "new@beta.test")
    assert (await house.client.post("/v1/accounts", json={"address": "new@beta.test"})).status_code == 200
    listed = (await house.client.get("/v1/accounts")).json()["accounts"]
    assert [account["address"] for account in listed] == ["new@beta.test"]
    assert (await house.client.delete("/v1/accounts/NEW@beta.test")).status_code == 204
    assert (await house.client.delete("/v1/accounts/new@beta.test")).status_code == 404
    assert (await house.client.get("/v1/accounts")).json() == {"accounts": []}


async def test_an_account_counts_its_mail(house):
    landed = await house.deliver()
    (account,) = (await house.client.get("/v1/accounts")).json()["accounts"]
    assert account == {"address": BOB, "messages": 1, "unseen": 1, "octets": landed.octets, "cursor": landed.seq}


@pytest.mark.parametrize("address", ["", "x", "@", "a@", "@b", "a b@c.test", "a/b@c.test", "a\r@c.test"])
async def test_what_is_no_address_cannot_be_an_account(house, address):
    assert (await house.client.post("/v1/accounts", json={"address": address})).status_code == 422
    assert (await house.client.get("/v1/accounts")).json() == {"accounts": []}


async def test_mailboxes_have_the_documented_members(house):
    await house.deliver()
    (inbox,) = (await house.client.get(f"/v1/accounts/{BOB}/mailboxes")).json()["mailboxes"]
    assert {"name", "messages", "unseen", "uid_validity", "uid_next", "highest_mod_seq"} <= inbox.keys()
    assert (inbox["name"], inbox["messages"], inbox["unseen"], inbox["uid_next"]) == ("INBOX", 1, 1, 2)
    assert (await house.client.get("/v1/accounts/nobody@beta.test/mailboxes")).status_code == 404


class TestClosedHouse:
    """[accounts] any = false."""

    @pytest.fixture
    def credentials(self):
        return Credentials(any_account=False, specs={BOB: AccountSpec()})

    async def test_only_configured_accounts_have_a_log_or_come_into_being(self, house):
        for path in ("changes", "changes/sse", "changes/stream"):
            assert (await house.client.get(f"/v1/accounts/eve@beta.test/{path}")).status_code == 404
        assert (await house.client.get(f"/v1/accounts/{BOB}/changes")).status_code == 200
        assert (await house.client.post("/v1/accounts", json={"address": "eve@beta.test"})).status_code == 422
        assert (await house.client.post("/v1/accounts", json={"address": BOB})).status_code == 201


async def test_sessions_are_selected_and_shown_with_their_transcript(house):
    log = house.context.sessions
    first = log.open("smtp", "alpha.smtp", peer="127.0.0.1:4000", local="127.0.0.1:1025")
    first.client("MAIL FROM:<x>")
    first.server("550 no")
    first.close("rejected")
    second = log.open("imap", "imap", peer="127.0.0.1:4001", local="127.0.0.1:1143")
    second.account = BOB
    second.finding(Finding("command-in-idle", "RFC 2177 §3", "NOOP inside IDLE"))
    second.finding(Finding("command-in-idle", "RFC 2177 §3", "NOOP inside IDLE"))
    listed = (await house.client.get("/v1/sessions")).json()["sessions"]
    assert [session["id"] for session in listed] == [second.id, first.id]
    assert [session["rules"] for session in listed] == [["command-in-idle"], []]
    for parameters, ids in (
        ({"protocol": "smtp"}, [first.id]),
        ({"account": BOB.upper()}, [second.id]),
        ({"outcome": "rejected"}, [first.id]),
        ({"outcome": "open", "protocol": "smtp"}, []),
        ({"finding": "command-in-idle"}, [second.id]),
        ({"finding": "any"}, [second.id]),
        ({"finding": "bare-lf-command"}, []),
    ):
        found = (await house.client.get("/v1/sessions", params=parameters)).json()["sessions"]
        assert [session["id"] for session in found] == ids
    shown = (await house.client.get(f"/v1/sessions/{first.id}")).json()
    assert [(line["side"], line["text"]) for line in shown["transcript"]] == [("C", "MAIL FROM:<x>"), ("S", "550 no")]
    assert (shown["outcome"], shown["ended_at"] is None) == ("rejected", False)
    for name in ("protocol", "outcome"):
        refused = await house.client.get("/v1/sessions", params={name: "nonsense"})
        assert refused.status_code == 422
        assert f"{name}: 'nonsense' is not one of " in refused.text
    assert (await house.client.get("/v1/sessions/none")).status_code == 404


async def test_the_queue_is_shown_for_all_sites_and_for_one(house, queues):
    items = (await house.client.get("/v1/queue")).json()["items"]
    assert [item["id"] for item in items] == ["Q1", "Q2"]
    assert items[0]["recipients"] == [
        {"address": BOB, "status": "waiting", "attempts": 2, "next_attempt": "2026-09-21T14:14:20.000000Z",
         "reply": "451 4.7.1 later", "remote": "mx.beta.test"}
    ]  # fmt: skip
    assert (await house.client.get("/v1/queue?site=none")).status_code == 422


async def test_each_lever_of_the_queue_moves_the_right_item(house, queues):
    assert (await house.client.post("/v1/queue/run")).json() == {"recipients": 2}
    for lever in ("retry", "hold", "release"):
        assert (await house.client.post(f"/v1/queue/Q2/{lever}")).json()["id"] == "Q2"
    assert (await house.client.delete("/v1/queue/Q2")).status_code == 204
    assert queues["beta"].done == ["run", "retry", "hold", "release", "remove"]
    assert (await house.client.post("/v1/queue/Q1/bounce")).status_code == 204
    assert queues["alpha"].done == ["run", "bounce"]
    assert (await house.client.delete("/v1/queue/Q2")).status_code == 404
    assert (await house.client.post("/v1/queue/Q9/retry")).status_code == 404


@pytest.mark.parametrize("body", [{"seconds": 90}, {"by": "1.5m"}, {"by": "90s"}, {"by": "90"}])
async def test_the_manual_clock_is_advanced(house, body):
    before = (await house.client.get("/v1/clock")).json()
    assert before["mode"] == "manual"
    after = (await house.client.post("/v1/clock/advance", json=body)).json()
    assert after["timestamp"] == before["timestamp"] + 90


@pytest.mark.parametrize(
    "body",
    [{}, {"seconds": -1}, {"seconds": 1e300}, {"by": "soon"}, {"by": "1s", "seconds": 1}, {"seconds": "1"}, {"x": 1}],
)
async def test_the_clock_goes_only_forward_and_by_something(house, body):
    before = house.context.clock.now()
    assert (await house.client.post("/v1/clock/advance", json=body)).status_code == 422
    assert house.context.clock.now() == before


async def test_the_system_s_time_cannot_be_advanced(house):
    house.context.clock = SystemClock()
    answer = await house.client.post("/v1/clock/advance", json={"seconds": 1})
    assert (answer.status_code, answer.json()["title"]) == (409, "No manual clock")
    assert (await house.client.get("/v1/clock")).json()["mode"] == "system"


@pytest.mark.parametrize(
    "body",
    [
        {"protocol": "smtp", "stage": "rcpt", "reply": "451 4.7.1 come back later", "times": 2},
        {"protocol": "imap", "drop": True, "skip": 1},
        {"site": "beta", "reset": True},
        {"account": "^bob", "delay": 2.5},
    ],
)
async def test_a_fault_is_shown_as_it_was_scripted_with_its_hits(house, body):
    added = await house.client.post("/v1/faults", json=body)
    assert added.status_code == 201
    (shown,) = (await house.client.get("/v1/faults")).json()["faults"]
    assert shown == added.json()
    assert {name: shown[name] for name in body} == body
    assert shown["hits"] == 0
    assert (await house.client.delete("/v1/faults", params={"id": shown["id"]})).status_code == 204
    assert (await house.client.delete("/v1/faults", params={"id": shown["id"]})).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reply": "no"},
        {"reply": "451 x", "drop": True},
        {"delay": -1},
        {"reply": "451 x", "times": 0},
        {"reply": "451 x", "account": "("},
        {"reply": "451 x", "protokol": "smtp"},
    ],
)
async def test_a_fault_that_says_nothing_or_two_things_is_refused(house, body):
    assert (await house.client.post("/v1/faults", json=body)).status_code == 422
    assert len(house.context.faults) == 0


async def test_reset_empties_one_account_one_namespace_or_all(house):
    accounts = [BOB, "eve+t1@beta.test", "dan+t1@alpha.test", "fay@t1", "gus+t12@beta.test"]
    for account in accounts:
        await house.deliver(account)

    async def left():
        return sorted({m["account"] for m in (await house.client.get("/v1/messages")).json()["messages"]})

    assert (await house.client.post("/v1/reset", json={"account": BOB})).status_code == 204
    assert await left() == sorted(accounts[1:])
    assert (await house.client.post("/v1/reset", json={"namespace": "t1"})).status_code == 204
    assert await left() == ["gus+t12@beta.test"]
    assert (await house.client.post("/v1/reset", json={"account": "a@b.test", "namespace": "x"})).status_code == 422
    assert (await house.client.post("/v1/reset", json={"account": "nobody@b.test"})).status_code == 404
    assert (await house.client.post("/v1/reset")).status_code == 204
    assert await left() == []


async def journey_of(house):
    accepted = Accepted(
        "alpha", "Q1", 1.0, "s1", "127.0.0.1:4000", "client.test", "ESMTP", "",
        EnvelopeRecord("alice@alpha.test", [BOB]), 10, "ab", [], [TranscriptLine(0.0, "C", "DATA")],
    )  # fmt: skip
    await house.ledger.append("J1", accepted)
    return await house.deliver(journey_id="J1")


async def test_a_journey_is_found_by_every_id_that_names_it(house):
    landed = await journey_of(house)
    by_id = (await house.client.get("/v1/journeys/J1")).json()
    assert by_id["id"] == "J1"
    assert by_id["hops"][0]["accepted"]["envelope"]["recipients"] == [BOB]
    for path in ("/v1/journeys/Q1", f"/v1/journeys/{landed.message_id}", f"/v1/messages/{landed.message_id}/journey"):
        assert (await house.client.get(path)).json() == by_id
    assert (await house.client.get("/v1/journeys/none")).status_code == 404


async def test_a_message_that_was_appended_has_no_journey(house):
    landed = await house.deliver()
    answer = await house.client.get(f"/v1/messages/{landed.message_id}/journey")
    assert (answer.status_code, answer.json()["title"]) == (404, "No such journey")


@pytest.mark.parametrize(
    ("path", "headers", "protocol"),
    [
        ("/v1/messages", {}, "http"),
        ("/v1/messages/{id}", {}, "http"),
        ("/v1/messages/{id}/raw", {}, "http"),
        ("/v1/accounts/bob@beta.test/changes", {}, "http"),
        ("/v1/accounts/bob@beta.test/changes", {"Prefer": "wait=5"}, "long-poll"),
        ("/v1/wait?to=bob@beta.test", {}, "http"),
    ],
)
async def test_the_first_sight_of_a_message_is_part_of_its_journey(house, path, headers, protocol):
    landed = await journey_of(house)
    before = (await house.client.get("/v1/journeys/J1")).json()
    assert before["hops"][-1]["deliveries"][0]["first_shown"] == []
    await house.client.get(path.format(id=landed.message_id), headers=headers)
    after = (await house.client.get("/v1/journeys/J1")).json()
    assert [shown["protocol"] for shown in after["hops"][-1]["deliveries"][0]["first_shown"]] == [protocol]


@pytest.mark.parametrize(("path", "protocol"), [("sse", "sse"), ("stream", "stream")])
async def test_a_push_is_a_sight_too(house, path, protocol):
    await journey_of(house)
    async with house.client.stream("GET", f"/v1/accounts/{BOB}/changes/{path}?since=0") as answer:
        async for line in answer.aiter_lines():
            if "MessageNew" in line:
                break
    journey = (await house.client.get("/v1/journeys/J1")).json()
    assert [shown["protocol"] for shown in journey["hops"][-1]["deliveries"][0]["first_shown"]] == [protocol]
