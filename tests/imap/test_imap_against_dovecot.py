"""Odd and wrong conversations, said to Dovecot and to us: the answers mean the same, or the script says why not."""

import pytest
from private_dovecot import PASSWORD, private_dovecot, required

from tests.imap.differential.answers import alike
from tests.imap.differential.scripts import FOLDER, Talk, read
from tests.imap.serving import serving

SCRIPTS = [script for path in sorted(FOLDER.glob("*.txt")) for script in read(path)]
ACCOUNT = "script{}@beta.test"

# Extensions that Debian's Dovecot has and does not switch on.
MORE = """
mail_plugins = quota
mail_attribute_dict = file:%h/attributes
protocol imap {
  mail_plugins = $mail_plugins imap_quota imap_zlib
  imap_metadata = yes
}
plugin {
  quota = count:User quota
  quota_rule = *:storage=100M
  quota_vsizes = yes
}
"""


@pytest.fixture(scope="module")
def their_port():
    required()
    with private_dovecot(MORE) as running:
        yield running.imap


@pytest.mark.client("dovecot")
@pytest.mark.parametrize("number", range(len(SCRIPTS)), ids=[f"{each.group}: {each.title}" for each in SCRIPTS])
async def test_dovecot_and_we_mean_the_same(number: int, their_port: int) -> None:
    script, account = SCRIPTS[number], ACCOUNT.format(number)
    theirs = await Talk("127.0.0.1", their_port, account, PASSWORD).run(script)
    async with serving() as server:
        ours = await Talk(server.listener.host, server.listener.port, account, PASSWORD).run(script)
    wrong = []
    for place, (step, their, our) in enumerate(zip(script.steps, theirs, ours, strict=True), 1):
        if step.reason and alike(their, our):
            wrong.append(f"{place}: {step.text}\n  no longer different: {step.reason}")
        elif not step.reason and not alike(their, our):
            wrong.append("\n  ".join([f"{place}: {step.text}", *differences(their, our)]))
    assert not wrong, "\n".join(wrong)


def differences(theirs: list, ours: list) -> list[str]:
    return [f"dovecot: {each}" for each in theirs if each not in ours] + [
        f"we:      {each}" for each in ours if each not in theirs
    ]


def test_titles_are_unique() -> None:
    titles = [(each.group, each.title) for each in SCRIPTS]
    assert len(set(titles)) == len(titles)
