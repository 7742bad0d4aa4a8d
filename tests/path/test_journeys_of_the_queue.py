"""What an operator does to waiting mail, as its journey tells it: in Python, by HTTP, by the command, in an export."""

import httpx
import pytest

from mailsandbox import Sandbox
from mailsandbox.cli.journey import WIDTH, report

FAR = "far@nobody.test"


@pytest.fixture
def config(tmp_path):
    """Mail for nobody.test waits: nothing listens on that port."""
    path = tmp_path / "mailsandbox.toml"
    path.write_text('[clock]\nmode = "manual"\n[[routes]]\ndomain = "nobody.test"\nhost = "127.0.0.1"\nport = 1\n')
    return path


@pytest.fixture
def box(config):
    with Sandbox(config) as box:
        yield box


def act(box, queue_id: str, verb: str) -> None:
    answer = (
        httpx.delete(f"{box.url}/v1/queue/{queue_id}")
        if verb == "remove"
        else httpx.post(f"{box.url}/v1/queue/{queue_id}/{verb}")
    )
    assert answer.status_code in (200, 204), answer.text


@pytest.mark.parametrize(
    ("verbs", "state"),
    [
        (["hold"], "held"),
        (["hold", "release"], "queued"),
        (["retry"], "queued"),
        (["bounce"], "failed"),
        (["remove"], "removed"),
        (["hold", "remove"], "removed"),
    ],
)
def test_a_waiting_message_is_what_was_done_to_it_however_long_one_waits(box, verbs, state):
    sent = box.send(FAR, subject="waits")
    assert box.journey(sent).state == "queued"
    for verb in verbs:
        act(box, sent.queue_id, verb)
    assert box.journey(sent).state == state
    seen = httpx.get(f"{box.url}/v1/journeys/{sent.id}").json()
    assert seen["state"] == state
    assert [done["action"] for done in seen["hops"][0]["operations"]] == verbs
    box.clock.advance(10 * 86_400)
    left = httpx.get(f"{box.url}/v1/queue").json()["items"]
    assert [item["journey_id"] for item in left] == ([sent.id] if state == "held" else [])
    assert box.journey(sent).state == ("failed" if state == "queued" else state)


def test_the_command_tells_what_the_operator_did_between_the_attempts(box):
    sent = box.send(FAR, subject="waits")
    box.journey(sent)  # the first attempt is over
    for verb in ("hold", "release", "hold", "remove"):
        act(box, sent.queue_id, verb)
        box.journey(sent)
    lines = list(report(httpx.get(f"{box.url}/v1/journeys/{sent.id}").json(), transcript=False))
    assert max(map(len, lines)) <= WIDTH
    told = [line.partition(" at +")[0] for line in lines if " at +" in line]
    assert told == [
        "accepted",
        "attempt 1",
        "held by the operator",
        "released by the operator",
        "attempt 2",
        "held by the operator",
        "removed from the queue, nobody told, by the operator",
    ]
    assert lines[0] == f"journey {sent.id}: removed"


def test_an_export_brings_it_to_another_sandbox(box, config, tmp_path):
    sent = box.send(FAR, subject="waits")
    act(box, sent.queue_id, "hold")
    act(box, sent.queue_id, "remove")
    box.export_zip(tmp_path / "all.zip")
    with Sandbox(config) as other:
        other.import_zip(tmp_path / "all.zip")
        assert other.journey(sent.id) == box.journey(sent)
        assert other.journey(sent.id).state == "removed"


def test_the_description_of_the_interface_names_it(box):
    schemas = httpx.get(f"{box.url}/openapi.json").json()["components"]["schemas"]
    assert "operations" in schemas["Hop"]["properties"]
    assert set(schemas["Operated"]["properties"]) == {"site", "queue_id", "at", "action", "recipients", "attempts"}
    assert "removed" in schemas["JourneyView"]["description"]


def test_a_reset_of_everything_is_told_by_the_journey_of_what_waited(box):
    sent = box.send(FAR, subject="waits")
    box.journey(sent)
    box.reset()
    assert httpx.get(f"{box.url}/v1/queue").json()["items"] == []
    assert box.journey(sent).state == "removed"
