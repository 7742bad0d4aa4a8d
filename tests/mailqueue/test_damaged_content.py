"""A large message whose file is gone keeps nobody else's mail back: it waits, and its sender is told in the end."""

from kit import DONE, LATER_OUTCOME

from mailsandbox.database import open_database
from mailsandbox.mailqueue.attempts import QueueLimits
from mailsandbox.mailqueue.schedule import RetryPolicy

LARGE = b"0123456789abcde\r\n" * 100_000


async def test_it_is_deferred_and_goes_out_when_a_backup_has_brought_it_back(make_kit, tmp_path, caplog):
    kit = await make_kit(database=open_database(str(tmp_path / "data")))
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME, DONE]
    queue_id = await kit.send("b@beta.test", octets=LARGE)
    (file,) = (tmp_path / "data" / "large").iterdir()
    file.rename(tmp_path / "backup")
    await kit.queue.run()
    await kit.clock.advance(0.0)
    await kit.queue.quiet()
    (row,) = (await kit.queue.item(queue_id)).recipients
    assert (row.attempts, str(row.reply)[:9]) == (2, "451 4.3.0")
    assert f"{queue_id} is deferred" in caplog.text
    assert file.name in caplog.text
    (tmp_path / "backup").rename(file)
    await kit.clock.advance(3600.0)
    await kit.queue.quiet()
    assert await kit.queue.count() == 0


async def test_its_sender_is_told_when_it_expires_and_others_go_out_meanwhile(make_kit, tmp_path):
    kit = await make_kit(
        database=open_database(str(tmp_path / "data")),
        retry=RetryPolicy(jitter=0.0),
        limits=QueueLimits(kept_octets=0),
    )
    kit.courier.answers["b@beta.test"] = [LATER_OUTCOME]
    queue_id = await kit.send("b@beta.test", octets=LARGE)
    (file,) = (tmp_path / "data" / "large").iterdir()
    file.unlink()
    await kit.send("c@beta.test", octets=b"small\r\n")
    await kit.clock.advance(6 * 86_400.0)
    await kit.queue.quiet()
    assert await kit.queue.count() == 0
    actions = [str(report.action) for told, reports in kit.told for report in reports if told == queue_id]
    assert actions[-1] == "failed"
