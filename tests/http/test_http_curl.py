"""The same routes, asked by curl."""

import asyncio
import json

import pytest

BOB = "bob@beta.test"
LOG = f"/v1/accounts/{BOB}/changes"


@pytest.fixture
def curl(program):
    path = program("curl")

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            path, "-sS", "--max-time", "20", *arguments, stdout=asyncio.subprocess.PIPE
        )
        octets, _ = await process.communicate()
        return octets.decode()

    return run


@pytest.mark.client("curl")
@pytest.mark.rfc(9110, "13.1.2")
async def test_curl_keeps_the_etag_and_is_told_304_until_there_is_news(house, curl, tmp_path):
    await house.deliver()
    etag, url = str(tmp_path / "etag"), house.url + LOG
    flags = ("--etag-save", etag, "--etag-compare", etag, "-w", "%{http_code}", "-o", str(tmp_path / "body"))
    assert await curl(*flags, url) == "200"
    assert await curl(*flags, url) == "304"
    landed = await house.deliver()
    assert await curl(*flags, url) == "200"
    assert json.loads((tmp_path / "body").read_text())["cursor"] == landed.seq


@pytest.mark.client("curl")
async def test_curl_polls_with_patience(house, curl):
    landed = await house.deliver()
    waiting = asyncio.create_task(curl("-H", "Prefer: wait=15", f"{house.url}{LOG}?since={landed.seq}"))
    while not house.context.counts.readers["long-poll"]:
        await asyncio.sleep(0.001)
    new = await house.deliver()
    assert json.loads(await waiting)["cursor"] == new.seq


@pytest.mark.client("curl")
async def test_curl_sends_a_file_octet_for_octet(house, curl, tmp_path):
    letter = tmp_path / "letter.eml"
    letter.write_bytes(b"Subject: x\r\n\r\n\xff\x00\nbare\r\n")
    answer = await curl(
        "-H", "Content-Type: message/rfc822", "--data-binary", f"@{letter}",
        f"{house.url}/v1/send?from=a@alpha.test&to={BOB}",
    )  # fmt: skip
    assert json.loads(answer)["id"] == "j1"
    assert house.site.taken[0][1] == letter.read_bytes()


@pytest.mark.client("curl")
async def test_curl_loads_a_large_message_whole(house, curl, tmp_path):
    octets = b"Subject: large\r\n\r\n" + bytes(range(256)) * 20_000
    landed = await house.deliver(octets=octets)
    await curl("-o", str(tmp_path / "raw"), f"{house.url}/v1/messages/{landed.message_id}/raw")
    assert (tmp_path / "raw").read_bytes() == octets
