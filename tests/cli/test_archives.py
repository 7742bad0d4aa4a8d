import contextlib
import mailbox
import zipfile

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.cli.archives.maildir import directory_name, folder_name
from mailsandbox.cli.archives.model import Kept, Unreadable, with_lf
from mailsandbox.cli.archives.reading import format_of, is_ours, read_archive, whose_is_unsaid
from mailsandbox.cli.archives.trees import safe_name
from mailsandbox.cli.archives.writing import Writer, new_file

ONE = b"Subject: one\r\n\r\nFrom here on\r\n>From there\r\n"
TWO = b"Subject: two\r\n\r\n"
MESSAGES = [
    Kept(ONE, ("\\Seen", "\\Flagged", "$Forwarded", "work"), 1_795_230_262.0, "INBOX", "a@x.test", uid=4),
    Kept(TWO, (), 1_795_230_300.0, "Work/2026", "a@x.test", uid=9),
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
    assert [set(kept.flags) for kept in back] == [set(MESSAGES[0].flags), set()]
    assert [kept.received_at for kept in back] == [1_795_230_262.0, 1_795_230_300.0]


def test_maildir_gives_back_octets_flags_dates_and_folders(tmp_path):
    path = written(tmp_path, "maildir") / "a@x.test"
    back = sorted(read_archive(path), key=lambda kept: kept.mailbox)
    assert [kept.octets for kept in back] == [ONE, TWO]
    assert [kept.mailbox for kept in back] == ["", "Work/2026"]
    assert set(back[0].flags) == set(MESSAGES[0].flags)
    assert [kept.received_at for kept in back] == [1_795_230_262.0, 1_795_230_300.0]


def test_eml_files_lie_in_folders_by_account_and_mailbox(tmp_path):
    path = written(tmp_path, "eml")
    assert (path / "a@x.test" / "INBOX" / "4.eml").read_bytes() == ONE
    assert (path / "a@x.test" / "Work%2F2026" / "9.eml").read_bytes() == TWO
    assert {(kept.octets, kept.account, kept.mailbox) for kept in read_archive(path)} == {
        (ONE, "a@x.test", "INBOX"),
        (TWO, "a@x.test", "Work/2026"),
    }


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
    for kind in ("mbox", "maildir", "eml"):
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
    with pytest.raises(click.ClickException, match=r"bad\.zip: no zip, or cut short"):
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
    for kind in ("mbox", "eml", "maildir"):
        with pytest.raises(click.ClickException, match="is there already"):
            Writer(path, kind).__enter__()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".", "/", "a/b", "C:\\x", "\0", ""])
def test_no_mailbox_name_leads_out_of_the_archive(tmp_path, name):
    shown = safe_name(name)
    assert "/" not in shown
    assert "\0" not in shown
    assert shown not in ("", ".", "..")


def test_an_export_of_every_account_as_maildirs_is_read_back_account_by_account(tmp_path):
    for address in ("a@beta.test", "b@beta.test"):
        for folder in ("cur", "new", "tmp"):
            (tmp_path / address / folder).mkdir(parents=True)
        (tmp_path / address / "cur" / "1:2,S").write_bytes(b"Subject: one\n\nhello\n")
    assert [kept.account for kept in read_archive(tmp_path)] == ["a@beta.test", "b@beta.test"]


@pytest.mark.parametrize(
    "octets",
    [
        b"Subject: a header alone\r\n",
        b"\r\nno header\r\n",
        b">From root Mon Jan  5 2026\r\nSubject: x\r\n\r\n>>From there\r\n",
        b"Subject: x\r\n\r\n\r\n\r\n",
        b"Subject: x\r\n\r\nText\r\nStatus: RO\r\n",
        b"From: x\r\nSubject: 8 bit\r\n\r\n\xff\xfe\r\n",
    ],
)
def test_an_mbox_gives_back_what_is_odd(tmp_path, octets):
    path = tmp_path / "box"
    with Writer(path, "mbox") as writer:
        writer.add(Kept(octets, ("\\Seen", "$Forwarded"), 1_795_230_262.0))
        writer.add(Kept(ONE))
    first, second = read_archive(path, "mbox")
    assert first.octets == octets
    assert set(first.flags) == {"\\Seen", "$Forwarded"}
    assert second.octets == ONE


def test_the_status_fields_of_a_message_are_not_taken_for_its_flags(tmp_path):
    with Writer(tmp_path / "box", "mbox") as writer:
        writer.add(Kept(b"Subject: x\r\nStatus: RO\r\nX-Keywords: a b\r\n\r\nText\r\n"))
    (back,) = read_archive(tmp_path / "box")
    assert list(back.flags) == []
    assert back.octets == b"Subject: x\r\n\r\nText\r\n"


def test_a_file_that_is_no_mbox_is_said_to_be_none(tmp_path):
    (tmp_path / "x").write_bytes(ONE)
    (found,) = read_archive(tmp_path / "x", "mbox")
    assert isinstance(found, Unreadable)
    assert "does not begin with" in found.why


def test_a_file_that_is_nothing_known_is_refused_by_name(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(click.ClickException, match=r"photo\.png: neither mbox, Maildir, zip nor a message"):
        list(read_archive(path))
    assert [kept.octets for kept in read_archive(path, "eml")] == [path.read_bytes()]


def test_an_empty_file_is_an_mbox_without_messages(tmp_path):
    (tmp_path / "empty").touch()
    assert list(read_archive(tmp_path / "empty")) == []


def test_a_message_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path):
    path = written(tmp_path, "maildir") / "a@x.test"
    (path / "new" / "link").symlink_to("/etc/hostname")
    (path / "cur" / "gone:2,S").symlink_to("/nowhere")
    found = list(read_archive(path))
    assert sum(isinstance(each, Kept) for each in found) == 2
    assert {each.why for each in found if isinstance(each, Unreadable)} == {"a symbolic link"}


def test_a_damaged_message_of_a_zip_is_named_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.eml", ONE * 20)
        archive.writestr("b.eml", TWO)
    octets = bytearray(path.read_bytes())
    octets[40] ^= 0xFF
    path.write_bytes(octets)
    first, second = read_archive(path)
    assert isinstance(first, Unreadable)
    assert "a.eml" in first.source
    assert second.octets == TWO
    assert not is_ours(path)


@pytest.mark.parametrize(
    ("mailbox", "directory"),
    [("Sent/2026", ".Sent.2026"), ("Entwürfe & mehr", ".Entw&APw-rfe &- mehr"), ("v1.2/a.b", ".v1&AC4-2.a&AC4-b"),
     ("日本語", ".&ZeVnLIqe-")],
)  # fmt: skip
@pytest.mark.rfc(3501, "5.1.3")
def test_folders_of_a_maildir_are_named_in_modified_utf7(mailbox, directory):
    assert directory_name(mailbox) == directory
    assert folder_name(directory) == mailbox


def test_a_folder_name_that_is_no_modified_utf7_stays_as_it_is():
    assert folder_name(".a&b.Entwürfe") == "a&b/Entwürfe"


def test_keywords_beyond_the_26_that_a_maildir_can_name_are_lost(tmp_path):
    with Writer(tmp_path / "box", "maildir") as writer:
        writer.add(Kept(ONE, [f"k{n:02d}" for n in range(30)]))
    (back,) = read_archive(tmp_path / "box")
    assert list(back.flags) == [f"k{n:02d}" for n in range(26)]


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path):
    for kind in ("mbox", "maildir", "eml"):
        with contextlib.suppress(RuntimeError), Writer(tmp_path / "x", kind) as writer:
            writer.add(MESSAGES[0])
            raise RuntimeError
        with pytest.raises(click.ClickException, match="No space left"), Writer(tmp_path / "x", kind):
            raise OSError(28, "No space left on device")
    with pytest.raises(click.ClickException, match="cannot be written"), new_file(tmp_path / "none" / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def maildir_at(path):
    for folder in ("cur", "new", "tmp"):
        (path / folder).mkdir(parents=True)
    (path / "cur" / "1:2,S").write_bytes(b"Subject: one\n\nhello\n")
    return path


def one_mbox(path):
    path.write_bytes(b"From a@x.test Mon Jan  5 00:00:00 2026\nSubject: one\n\nhello\n")
    return path


def one_message(path):
    path.write_bytes(ONE)
    return path


def others_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.eml", ONE)
    return path


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (one_mbox, "an mbox file"),
        (maildir_at, "a Maildir"),
        (one_message, "a message"),
        (others_zip, "a zip of messages"),
    ],
)
def test_what_cannot_say_whose_mail_it_is_is_wrong_use_before_anything_is_imported(run, scripted, tmp_path, make, kind):
    tree = tmp_path / "tree" / "a@x.test" / "INBOX"
    tree.mkdir(parents=True)
    (tree / "1.eml").write_bytes(ONE)
    path = make(tmp_path / "archive")
    ran = run("import", tmp_path / "tree", path)
    assert ran.code == 2
    assert f"mailsandbox: {path} is {kind} and does not say whose mail it is: give --account ADDRESS" in ran.err
    assert scripted.asked == []


def test_a_maildir_named_by_an_address_is_that_accounts(tmp_path):
    path = maildir_at(tmp_path / "a@beta.test")
    assert whose_is_unsaid(path) == ""
    assert [kept.account for kept in read_archive(path)] == ["a@beta.test"]
