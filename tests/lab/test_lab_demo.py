"""The demonstration and the comparison."""

import io
import struct
import zlib

import msgspec
import pytest
from rich.console import Console

from mailsandbox.lab.compare import poisson, quantile, run_compare, theory
from mailsandbox.lab.demo import DemoResult, beach, french_message, part_changes, run_demo
from mailsandbox.lab.tables import render_compare, render_demo
from mailsandbox.lab.watchers import MODELS
from mailsandbox.message.rendering import render


def printed(renderable) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()


async def test_the_demo_shows_one_message_by_every_model():
    result = await run_demo(interval=0.1)
    assert result.complete
    assert [row.model for row in result.rows] == list(MODELS)
    rows = {row.model: row for row in result.rows}
    assert {row.opened_by for row in result.rows if row.model != "smtp"} == {"reader"}
    assert rows["smtp"].opened_by == "sender"
    assert all(rows[name].empty_answers >= 1 for name in ("pop3", "imap-poll", "http-poll"))
    assert all(rows[name].empty_answers == 0 for name in ("idle", "sse", "websocket", "stream"))
    # RFC 3030: binary in; RFC 6152: beta takes 7 bits only; RFC 2045: and gets the same content.
    encodings = {part.part: (part.before.encoding, part.after.encoding) for part in result.parts}
    assert set(encodings.values()) == {("8bit", "quoted-printable"), ("binary", "base64")}
    assert all(part.same for part in result.parts)
    assert result.edits > 0
    text = printed(render_demo(result))
    assert max(map(len, text.splitlines())) <= 80
    for row in result.rows:
        assert row.title in text
    assert msgspec.json.decode(msgspec.json.encode(result), type=DemoResult) == result


def test_a_part_that_changed_its_content_is_found():
    sent = french_message("bob@beta.test")
    assert all(part.same for part in part_changes(sent, sent))
    changed = sent.replace(b"sable", b"Sable", 1)
    assert [part.same for part in part_changes(sent, changed)].count(False) == 1


def test_the_french_message_carries_what_the_hop_must_convert():
    octets = french_message("bob@beta.test")
    rendered = render(octets)
    assert rendered.subject == "Été à la plage – déjà vu"
    assert {part.content_type for part in rendered.parts if not part.content_type.startswith("multipart/")} == {
        "text/plain", "text/html", "image/png"
    }  # fmt: skip
    assert beach() in octets
    assert not octets.isascii()


def test_the_picture_is_a_png():
    octets = beach(4, 4)
    assert octets.startswith(b"\x89PNG\r\n\x1a\n")
    position, kinds = 8, []
    while position < len(octets):
        (size,) = struct.unpack(">I", octets[position : position + 4])
        kind_and_data = octets[position + 4 : position + 8 + size]
        assert octets[position + 8 + size : position + 12 + size] == struct.pack(">I", zlib.crc32(kind_and_data))
        kinds.append(kind_and_data[:4])
        if kind_and_data[:4] == b"IDAT":
            assert len(zlib.decompress(kind_and_data[4:])) == 4 * (1 + 3 * 4)
        position += 12 + size
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


async def test_the_comparison_puts_every_model_on_the_same_messages():
    shares: list[float] = []
    result = await run_compare(rate=20, seconds=0.5, seed=3, interval=0.1, progress=shares.append)
    assert result.complete
    assert result.messages == len(poisson(20, 0.5, 3)) > 3
    assert {row.expected for row in result.rows} == {result.messages}
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    text = printed(render_compare(result))
    assert max(map(len, text.splitlines())) <= 80
    assert "Every message reached every reader once." in text


def test_arrivals_are_the_same_for_the_same_seed():
    assert poisson(2, 10, 7) == poisson(2, 10, 7)
    assert poisson(2, 10, 7) != poisson(2, 10, 8)
    assert poisson(0.0001, 1, 1) == [0.5]
    assert 1800 < len(poisson(200, 10, 1)) < 2200


def test_theory_for_a_poller_is_half_an_interval_and_the_gaps_longer_than_one():
    seconds = [1.0, 1.5, 4.0]  # gaps of 0.5 and 2.5; 2.0 outside
    commits = [int(second * 1e9) for second in seconds]
    mean, empty = theory("http-poll", commits, interval=1.0, lasted=5.0)
    assert mean == 500.0
    assert empty == pytest.approx((2.5 - 1.0) + (2.0 - 1.0))
    assert theory("sse", commits, interval=1.0, lasted=5.0) == (0.0, 0.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.95, 4), (1.0, 4)])
def test_a_quantile_is_one_of_the_values(share, value):
    assert quantile([1, 2, 3, 4], share) == value
    assert quantile([], share) is None
