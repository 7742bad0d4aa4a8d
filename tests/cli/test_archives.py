import contextlib
import json
import mailbox
import zipfile

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.cli.archives import Kept, Writer, format_of, read_archive, safe_name, with_lf

ONE = b"Subject: one\r\n\r\nFrom here on\r\n>From there\r\n"
TWO = b"Subject: two\r\n\r\n"
MESSAGES = [
    Kept(ONE, ("\\Seen", "\\Flagged"), 1_795_230_262.0, "INBOX", "a@x.test", details={"uid": 4}),
    Kept(TWO, (), 1_795_230_300.0, "Work/2026", "a@x.test", details={"uid": 9}),
]


def written(tmp_path, kind):
    path = tmp_path / "archive"
    with Writer(path, kind) as writer:
        for message in MESSAGES:
            writer.add(message)
    return path


@pytest.mark.rfc(4155, "A")
def test_mbox_gives_back_octets_flags_and_dates(tmp_path):
    back = list(read_archive(written(tmp_path, "mbox")))
    assert [kept.octets for kept in back] == [ONE, TWO]
    assert [set(kept.flags) for kept in back] == [{"\\Seen", "\\Flagged"}, set()]
    assert [kept.received_at for kept in back] == [1_795_230_262.0, 1_795_230_300.0]


def test_maildir_gives_back_octets_flags_dates_and_folders(tmp_path):
    path = written(tmp_path, "maildir") / "a@x.test"
    back = sorted(read_archive(path), key=lambda kept: kept.mailbox)
    assert [kept.octets for kept in back] == [ONE, TWO]
    assert [kept.mailbox for kept in back] == ["", "Work/2026"]
    assert set(back[0].flags) == {"\\Seen", "\\Flagged"}
    assert [kept.received_at for kept in back] == [1_795_230_262.0, 1_795_230_300.0]


def test_the_zip_gives_back_everything(tmp_path):
    path = written(tmp_path, "zip")
    back = list(read_archive(path))
    assert [(kept.octets, kept.flags, kept.received_at, kept.mailbox, kept.account) for kept in back] == [
        (kept.octets, tuple(kept.flags), kept.received_at, kept.mailbox, kept.account) for kept in MESSAGES
    ]
    assert [kept.details["uid"] for kept in back] == [4, 9]


def test_eml_files_lie_in_folders_by_account_and_mailbox(tmp_path):
    path = written(tmp_path, "eml")
    assert (path / "a@x.test" / "INBOX" / "4.eml").read_bytes() == ONE
    assert (path / "a@x.test" / "Work%2F2026" / "9.eml").read_bytes() == TWO
    assert {kept.octets for kept in read_archive(path)} == {ONE, TWO}


def test_other_programs_read_our_mbox_and_maildir(tmp_path):
    with contextlib.closing(mailbox.mbox(written(tmp_path, "mbox"), create=False)) as box:
        assert [message["Subject"] for message in box] == ["one", "two"]
        assert box[0].get_flags() == "RF"
    root = tmp_path / "other"
    root.mkdir()
    folder = mailbox.Maildir(written(root, "maildir") / "a@x.test", create=False)
    assert [message["Subject"] for message in folder] == ["one"]
    assert folder.list_folders() == ["Work.2026"]


def test_an_mbox_of_another_program_is_read_with_its_status_fields(tmp_path):
    path = tmp_path / "old"
    path.write_bytes(
        b"From root Sat Nov 21 03:04:22 2026\nSubject: a\nStatus: RO\nX-Status: A\n\nx\n>From y\n\n"
        b"From root@x.test Sat Nov 21 03:05:00 2026\nSubject: b\n\nFrom here on, no date\n"
    )
    first, second = read_archive(path)
    assert first.octets == b"Subject: a\r\n\r\nx\r\nFrom y\r\n"
    assert set(first.flags) == {"\\Seen", "\\Answered"}
    assert second.octets == b"Subject: b\r\n\r\nFrom here on, no date\r\n"


@given(st.lists(st.lists(st.sampled_from([b"From x 2026", b">From y 2026", b"", b"text", b"Status: R"]), max_size=6)))
def test_any_bodies_survive_an_mbox(tmp_path_factory, bodies):
    path = tmp_path_factory.mktemp("mbox") / "box"
    messages = [b"Subject: s\r\n\r\n" + b"".join(line + b"\r\n" for line in lines) for lines in bodies]
    with Writer(path, "mbox") as writer:
        for octets in messages:
            writer.add(Kept(octets, received_at=1_795_230_262.0))
    if messages:
        assert [kept.octets for kept in read_archive(path, "mbox")] == messages


def test_archives_are_told_apart_by_their_looks(tmp_path):
    for kind in ("mbox", "maildir", "zip", "eml"):
        place = tmp_path / kind
        place.mkdir()
        path = written(place, kind)
        assert format_of(path / "a@x.test" if kind == "maildir" else path) == kind
    single = tmp_path / "single"
    single.write_bytes(with_lf(ONE))
    assert format_of(single) == "eml"
    assert [kept.octets for kept in read_archive(single)] == [ONE]


@pytest.mark.parametrize("octets", [b"PK\x03\x04 no zip at all", b"PK\x05\x06"])
def test_a_damaged_zip_is_said_to_be_one(tmp_path, octets):
    path = tmp_path / "bad.zip"
    path.write_bytes(octets)
    with pytest.raises(click.ClickException, match=r"bad\.zip: is damaged"):
        list(read_archive(path))


@pytest.mark.parametrize(
    "manifest", [b"{}", b"[]", b"not json", b'{"messages": [{"file": "gone"}]}', b'{"messages": [1]}']
)
def test_a_zip_with_a_wrong_manifest_is_said_to_be_damaged(tmp_path, manifest):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(click.ClickException, match="damaged"):
        list(read_archive(path))


def test_any_zip_of_eml_files_is_read(tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deep/b.eml", ONE)
        archive.writestr("readme.txt", b"no message")
    assert [kept.octets for kept in read_archive(path)] == [ONE]


def test_what_is_there_is_never_overwritten(tmp_path):
    path = tmp_path / "there"
    path.write_text("mine")
    for kind in ("mbox", "zip", "eml", "maildir"):
        with pytest.raises(click.ClickException, match="is there already"):
            Writer(path, kind).__enter__()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "/", "a/b", "C:\\x", "\0", ""])
def test_no_mailbox_name_leads_out_of_the_archive(tmp_path, name):
    shown = safe_name(name)
    assert "/" not in shown
    assert "\0" not in shown
    assert shown not in ("", ".", "..")


def test_the_manifest_names_each_messages_file(tmp_path):
    with zipfile.ZipFile(written(tmp_path, "zip")) as archive:
        rows = json.loads(archive.read("manifest.json"))["messages"]
        assert all(row["file"] in archive.namelist() for row in rows)


def test_an_export_of_every_account_as_maildirs_is_read_back_account_by_account(tmp_path):
    for address in ("a@beta.test", "b@beta.test"):
        for folder in ("cur", "new", "tmp"):
            (tmp_path / address / folder).mkdir(parents=True)
        (tmp_path / address / "cur" / "1:2,S").write_bytes(b"Subject: one\n\nhello\n")
    assert [kept.account for kept in read_archive(tmp_path)] == ["a@beta.test", "b@beta.test"]
