"""Everything as one zip over HTTP, out and in, and rendering again."""

import io
import json
import zipfile

import pytest

from mailsandbox.errors import StoreFull
from mailsandbox.store.credentials import Credentials

BOB = "bob@beta.test"
NDJSON = {"Accept": "application/x-ndjson"}


async def exported(house, **query: str) -> bytes:
    answer = await house.client.get("/v1/export", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


async def test_what_was_exported_comes_back_with_its_uids(house):
    await house.deliver()
    await house.deliver()
    octets = await exported(house)
    before = (await house.client.get(f"/v1/accounts/{BOB}/mailboxes")).json()["mailboxes"]
    assert (await house.client.delete(f"/v1/accounts/{BOB}")).status_code == 204
    answer = await house.client.post("/v1/import", content=octets, headers={"Content-Type": "application/zip"})
    assert answer.json() == {
        "messages": 2,
        "journeys": 0,
        "mailboxes": [{"account": BOB, "mailbox": "INBOX", "messages": 2, "uids_kept": True}],
    }
    after = (await house.client.get(f"/v1/accounts/{BOB}/mailboxes")).json()["mailboxes"]
    assert [(each["uid_validity"], each["uid_next"]) for each in after] == [
        (each["uid_validity"], each["uid_next"]) for each in before
    ]
    again = await house.client.post("/v1/import", content=octets)
    assert again.json()["mailboxes"][0]["uids_kept"] is False


async def test_one_account_is_exported_alone_and_one_that_is_none_is_404(house):
    await house.deliver()
    await house.deliver("eve@beta.test")
    with zipfile.ZipFile(io.BytesIO(await exported(house, account="eve@beta.test"))) as archive:
        accounts = json.loads(archive.read("manifest.json"))["accounts"]
    assert [each["address"] for each in accounts] == ["eve@beta.test"]
    assert (await house.client.get("/v1/export?account=nobody@beta.test")).status_code == 404
    assert (await house.client.get("/v1/export?mailbox=Nowhere")).status_code == 404


async def test_a_client_that_asks_for_lines_is_told_the_progress(house):
    await house.deliver()
    octets = await exported(house)
    told = await house.client.post("/v1/import", content=octets, headers=NDJSON)
    assert told.headers["content-type"] == "application/x-ndjson"
    assert json.loads(told.text.splitlines()[-1])["messages"] == 1
    rendered = await house.client.post("/v1/reindex", headers=NDJSON)
    assert json.loads(rendered.text.splitlines()[-1]) == {"contents": 1}
    assert (await house.client.post("/v1/reindex")).json() == {"contents": 1}


@pytest.mark.parametrize("octets", [b"", b"no zip", b"PK\x03\x04"])
async def test_what_is_no_archive_is_422_and_nothing_is_stored(house, octets):
    answer = await house.client.post("/v1/import", content=octets)
    assert answer.status_code == 422
    assert answer.json()["type"] == "tag:mailsandbox,2026:bad-archive"
    told = await house.client.post("/v1/import", content=octets, headers=NDJSON)
    assert json.loads(told.text)["problem"]["status"] == 422
    assert (await house.client.get("/v1/accounts")).json() == {"accounts": []}


async def test_an_import_that_the_store_stops_says_how_far_it_came(house, monkeypatch):
    await house.deliver()
    octets = await exported(house)

    async def full(*_, **__):
        raise StoreFull("no room left")

    monkeypatch.setattr(house.store, "write", full)
    told = await house.client.post("/v1/import", content=octets, headers=NDJSON)
    problem = json.loads(told.text)["problem"]
    assert problem["status"] == 507
    assert problem["detail"] == "no room left; until then 0 messages of 1 had been imported"


async def test_an_archive_of_accounts_that_may_not_be_is_refused(house):
    await house.deliver()
    octets = await exported(house)
    house.context.credentials = Credentials(any_account=False)
    answer = await house.client.post("/v1/import", content=octets)
    assert answer.status_code == 422
    assert BOB in answer.json()["detail"]


async def test_an_archive_that_is_too_long_or_of_another_type_is_refused(house):
    wrong = await house.client.post("/v1/import", content=b"{}", headers={"Content-Type": "application/json"})
    assert wrong.status_code == 415
    house.context.options = type(house.context.options)(max_archive=3)
    assert (await house.client.post("/v1/import", content=b"four")).status_code == 413
    assert (await house.client.post("/v1/import?mailbox=x", content=b"")).status_code == 422
