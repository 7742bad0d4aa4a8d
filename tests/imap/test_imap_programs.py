"""Real mail programs against this server and, where it is installed, Dovecot: what they leave behind must agree."""

import asyncio
import imaplib
import mailbox
from pathlib import Path

import pytest
from imap_tools import AND, MailBoxUnencrypted, MailMessageFlags
from imapclient import IMAPClient
from private_dovecot import PASSWORD

from tests.imap import messages
from tests.imap.serving import ACCOUNT
from tests.imap.targets import DEADLINE, Program, Target, both, both_but_headers, flags_of


@pytest.mark.client("mbsync")
async def test_mbsync_synchronises_both_ways(ours: Target, theirs: Target | None, program: Program) -> None:
    mbsync = program("mbsync")

    def drive(target: Target) -> None:
        local = target.home / "mail"
        local.mkdir()
        (target.home / "rc").write_text(
            f"IMAPStore far\nHost {target.host}\nPort {target.port}\nUser {ACCOUNT}\nPass {PASSWORD}\nSSLType None\n"
            f"AuthMechs LOGIN\n\nMaildirStore near\nPath {local}/\nInbox {local}/INBOX\nSubFolders Verbatim\n\n"
            "Channel all\nFar :far:\nNear :near:\nPatterns * \nCreate Both\nExpunge Both\nSync All\nSyncState *\n"
        )
        target.run(mbsync, "-c", target.home / "rc", "all")
        inbox = mailbox.Maildir(local / "INBOX")
        assert len(inbox) == 3
        for key, message in inbox.items():
            if message["Message-ID"] == "<two@alpha.test>":
                message.set_flags("FS")
                inbox[key] = message
            elif message["Message-ID"] == "<three@beta.test>":
                inbox.remove(key)
        work = mailbox.Maildir(local / "work")
        work.add(messages.PLAIN.replace(b"<one@", b"<local@").replace(b"\r\n", b"\n"))
        target.run(mbsync, "-c", target.home / "rc", "all")
        target.run(mbsync, "-c", target.home / "rc", "all")

    state = await both_but_headers(ours, theirs, drive)
    assert flags_of(state) == {"<one@alpha.test>": ("\\Seen",), "<two@alpha.test>": ("\\Flagged", "\\Seen")}
    assert list(flags_of(state, "work")) == ["<local@alpha.test>"]


@pytest.mark.client("offlineimap")
async def test_offlineimap_synchronises_both_ways(ours: Target, theirs: Target | None, program: Program) -> None:
    offlineimap = program("offlineimap")

    def drive(target: Target) -> None:
        local = target.home / "mail"
        (target.home / "rc").write_text(
            f"[general]\naccounts = a\nmetadata = {target.home}/meta\nui = basic\n[Account a]\nlocalrepository = l\n"
            f"remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {local}\n"
            "[Repository r]\ntype = IMAP\n"
            f"remotehost = {target.host}\nremoteport = {target.port}\nremoteuser = {ACCOUNT}\nremotepass = {PASSWORD}\n"
            "ssl = no\nstarttls = no\nauth_mechanisms = PLAIN\n"
        )
        target.run(offlineimap, "-o", "-c", target.home / "rc")
        inbox = mailbox.Maildir(local / "INBOX")
        assert len(inbox) == 3
        for key, message in inbox.items():
            if message["Message-ID"] == "<two@alpha.test>":
                inbox.remove(key)
        added = mailbox.MaildirMessage(messages.PLAIN.replace(b"<one@", b"<local@").replace(b"\r\n", b"\n"))
        added.set_subdir("cur")
        added.set_flags("F")
        inbox.add(added)
        target.run(offlineimap, "-o", "-c", target.home / "rc")

    state = await both_but_headers(ours, theirs, drive)
    assert flags_of(state) == {
        "<one@alpha.test>": ("\\Seen",),
        "<three@beta.test>": (),
        "<local@alpha.test>": ("\\Flagged",),
    }


@pytest.mark.client("imapfilter")
async def test_imapfilter_moves_flags_and_deletes(ours: Target, theirs: Target | None, program: Program) -> None:
    imapfilter = program("imapfilter")

    def drive(target: Target) -> None:
        (target.home / "rules.lua").write_text(
            f"options.create = true\noptions.expunge = true\noptions.starttls = false\n"
            f"a = IMAP {{ server = '{target.host}', port = {target.port}, username = '{ACCOUNT}', "
            f"password = '{PASSWORD}' }}\n"
            "a.INBOX:contain_from('carol'):move_messages(a['lists/carol'])\n"
            "a.INBOX:contain_subject('Hello'):mark_flagged()\n"
            "a.INBOX:is_unseen():delete_messages()\n"
        )
        target.run(imapfilter, "-c", target.home / "rules.lua")

    state = await both(ours, theirs, drive)
    assert flags_of(state) == {"<one@alpha.test>": ("\\Flagged", "\\Seen")}
    assert list(flags_of(state, "lists/carol")) == ["<two@alpha.test>"]


@pytest.mark.client("neomutt")
@pytest.mark.parametrize("name", ["neomutt", "mutt"])
async def test_mutt_with_qresync_tags_saves_and_deletes(
    name: str, ours: Target, theirs: Target | None, program: Program
) -> None:
    mutt = program(name)

    def drive(target: Target) -> None:
        common = (
            f'set imap_user="{ACCOUNT}" imap_pass="{PASSWORD}" ssl_starttls=no ssl_force_tls=no confirmappend=no '
            f"confirmcreate=no imap_qresync=yes imap_condstore=yes delete=yes move=no quit=yes wait_key=no timeout=1\n"
            f'set header_cache="{target.home}/cache" folder="imap://{target.host}:{target.port}/" spoolfile="+INBOX"\n'
        )
        for number, keys in enumerate(
            (
                "<flag-message><save-message>=saved<enter><sync-mailbox><quit>",
                "<last-entry><delete-message><sync-mailbox><quit>",
            )
        ):
            rc = target.home / f"rc{number}"
            rc.write_text(common + f'push "<first-entry>{keys}"\n')
            target.run("script", "-qec", f"{mutt} -n -F {rc}", "/dev/null")

    state = await both(ours, theirs, drive)
    assert flags_of(state) == {"<one@alpha.test>": ("\\Flagged", "\\Seen")}
    assert list(flags_of(state, "saved")) == ["<two@alpha.test>"]


@pytest.mark.client("s-nail")
async def test_s_nail_reads_and_deletes(ours: Target, theirs: Target | None, program: Program) -> None:
    s_nail = program("s-nail")

    def drive(target: Target) -> None:
        url = f"imap://{target.url_user}:{PASSWORD}@{target.host}:{target.port}/INBOX"
        shown = target.run(
            s_nail, "-n", "-S", "v15-compat", "-S", "imap-auth=login", "-S", "folder-hook=", "-R", "-f", url,
            text="headers\nprint 1\nxit\n",
        )  # fmt: skip
        assert "Hi Bob" in shown
        target.run(
            s_nail, "-n", "-S", "v15-compat", "-S", "imap-auth=login", "-f", url, text="delete 2\nquit\n"
        )  # fmt: skip

    state = await both(ours, theirs, drive)
    assert sorted(flags_of(state)) == ["<one@alpha.test>", "<three@beta.test>"]


@pytest.mark.client("curl")
async def test_curl_searches_fetches_appends_and_stores(ours: Target, theirs: Target | None, program: Program) -> None:
    curl = program("curl")

    def drive(target: Target) -> None:
        common = [curl, "--silent", "--show-error", "--user", f"{ACCOUNT}:{PASSWORD}"]
        url = f"imap://{target.host}:{target.port}/INBOX"
        assert target.run(*common, f"{url}?SUBJECT%20Hello").strip() == "* SEARCH 1 2"
        assert "Hi Bob" in target.run(*common, f"{url};UID=1;SECTION=TEXT")
        assert "multipart/mixed" in target.run(*common, f"{url};MAILINDEX=2")
        message = target.home / "new.eml"
        message.write_bytes(messages.PLAIN.replace(b"<one@", b"<curl@"))
        target.run(*common, "--upload-file", message, url)
        target.run(*common, url, "--request", "STORE 2 +FLAGS (\\Answered $Work)")
        target.run(*common, f"imap://{target.host}:{target.port}", "--request", "CREATE made/by/curl")

    state = await both(ours, theirs, drive)
    assert "\\Answered" in flags_of(state)["<two@alpha.test>"]
    assert "<curl@alpha.test>" in flags_of(state)
    assert state["made/by/curl"] == []


@pytest.mark.client("fetchmail")
async def test_fetchmail_keeps_and_marks(ours: Target, theirs: Target | None, program: Program) -> None:
    fetchmail = program("fetchmail")

    def drive(target: Target) -> None:
        control = target.home / "rc"
        control.write_text(
            f"poll {target.host} service {target.port} protocol imap auth password\n"
            f'user "{ACCOUNT}" password "{PASSWORD}" keep sslproto "" mda "cat >> {target.home}/inbox"\n'
        )
        control.chmod(0o600)
        target.run(fetchmail, "--fetchmailrc", control, "--nodetach", "--nosyslog", "--pidfile", target.home / "pid")
        assert (target.home / "inbox").read_bytes().count(b"Message-ID: ") == 2

    assert set(flags_of(await both(ours, theirs, drive)).values()) == {("\\Seen",)}


async def test_imapclient_sorts_threads_idles_and_moves(ours: Target, theirs: Target | None) -> None:
    def drive(target: Target) -> None:
        with IMAPClient(target.host, target.port, ssl=False) as client:
            client.login(ACCOUNT, PASSWORD)
            selected = client.select_folder("INBOX")
            assert selected[b"EXISTS"] == 3
            assert client.sort(["REVERSE DATE"]) == [3, 2, 1]
            assert client.thread(criteria="ALL") == ((1, 2), (3,))
            fetched = client.fetch([2], ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "FLAGS"])
            assert fetched[2][b"ENVELOPE"].subject == b"Re: Hello"
            assert fetched[2][b"BODYSTRUCTURE"].is_multipart
            client.idle()
            with IMAPClient(target.host, target.port, ssl=False) as other:
                other.login(ACCOUNT, PASSWORD)
                other.append("INBOX", messages.PLAIN.replace(b"<one@", b"<idle@"))
            assert (4, b"EXISTS") in client.idle_check(timeout=DEADLINE)
            client.idle_done()
            client.create_folder("Archiv/Jänner")
            client.move([1, 4], "Archiv/Jänner")
            client.add_flags([2], ["work"])
            assert client.search(["KEYWORD", "work"]) == [2]
            assert client.get_flags([2])[2] == (b"work",) or b"work" in client.get_flags([2])[2]

    state = await both(ours, theirs, drive)
    assert sorted(flags_of(state, "Archiv/J&AOQ-nner")) == ["<idle@alpha.test>", "<one@alpha.test>"]


async def test_imap_tools_lists_flags_copies_and_deletes(ours: Target, theirs: Target | None) -> None:
    def drive(target: Target) -> None:
        with MailBoxUnencrypted(target.host, target.port).login(ACCOUNT, PASSWORD) as client:
            found = {message.subject: message for message in client.fetch(AND(all=True), mark_seen=False)}
            assert set(found) == {"Hello", "Re: Hello", "déjà vu"}
            assert [part.payload for part in found["Re: Hello"].attachments] == [b"\0\1\2\3"]
            client.folder.create("copies")
            client.copy(client.uids(), "copies")
            client.flag(client.uids(AND(seen=False)), MailMessageFlags.ANSWERED, True)
            client.delete(client.uids(AND(subject="vu")))

    state = await both(ours, theirs, drive)
    assert len(state["copies"]) == 3
    assert flags_of(state) == {"<one@alpha.test>": ("\\Seen",), "<two@alpha.test>": ("\\Answered",)}


PERL = """
use strict; use warnings; use Mail::IMAPClient;
my ($host, $port, $user, $password) = @ARGV;
my $imap = Mail::IMAPClient->new(Server => $host, Port => $port, User => $user, Password => $password, Uid => 1)
    or die "login: $@";
$imap->select('INBOX') or die $imap->LastError;
my @all = $imap->messages; die "count @all" unless @all == 3;
die "subject" unless $imap->subject($all[1]) eq 'Re: Hello';
my @found = $imap->search('SUBJECT', 'Hello'); die "search @found" unless @found == 2;
die "body" unless $imap->body_string($all[0]) =~ /Hi Bob/;
my $parts = $imap->get_bodystructure($all[1]) or die "bodystructure"; my @parts = $parts->parts;
die "parts @parts" unless "@parts" eq '1 2';
$imap->create('perl') or die $imap->LastError;
$imap->copy('perl', $all[0]) or die $imap->LastError;
$imap->move('perl', $all[2]) or die $imap->LastError;
$imap->expunge or die $imap->LastError;
$imap->set_flag('Flagged', $all[0]) or die $imap->LastError;
$imap->append('perl', "Subject: perl\\r\\nMessage-ID: <perl\\@test>\\r\\n\\r\\nx\\r\\n") or die $imap->LastError;
$imap->logout;
print "done\\n";
"""


@pytest.mark.client("perl")
async def test_mail_imapclient_of_perl_reads_copies_and_moves(
    ours: Target, theirs: Target | None, program: Program
) -> None:
    perl = program("perl")
    if not await asyncio.to_thread(Path("/usr/share/perl5/Mail/IMAPClient.pm").exists):
        program("Mail::IMAPClient")  # skips, or fails in CI

    def drive(target: Target) -> None:
        script = target.home / "drive.pl"
        script.write_text(PERL)
        assert "done" in target.run(perl, script, target.host, str(target.port), ACCOUNT, PASSWORD)

    state = await both(ours, theirs, drive)
    assert sorted(flags_of(state, "perl")) == ["<one@alpha.test>", "<perl@test>", "<three@beta.test>"]
    assert flags_of(state)["<one@alpha.test>"] == ("\\Flagged", "\\Seen")


NODE = """
const { ImapFlow } = require('imapflow');
const [host, port, user, pass] = process.argv.slice(2);
const assert = require('assert');
(async () => {
    const client = new ImapFlow({ host, port: Number(port), secure: false, doSTARTTLS: false, auth: { user, pass },
        logger: false, qresync: true });
    await client.connect();
    const lock = await client.getMailboxLock('INBOX');
    assert.strictEqual(client.mailbox.exists, 3);
    const one = await client.fetchOne('2', { envelope: true, bodyStructure: true, source: true, flags: true });
    assert.strictEqual(one.envelope.subject, 'Re: Hello');
    assert.strictEqual(one.bodyStructure.childNodes.length, 2);
    const { content } = await client.download('2', '2');
    const chunks = []; for await (const chunk of content) chunks.push(chunk);
    assert.deepStrictEqual([...Buffer.concat(chunks)], [0, 1, 2, 3]);
    assert.deepStrictEqual(await client.search({ subject: 'Hello' }, { uid: true }), [1, 2]);
    const told = new Promise(resolve => client.on('exists', resolve));
    const idling = client.idle();
    const other = new ImapFlow({ host, port: Number(port), secure: false, doSTARTTLS: false, auth: { user, pass },
        logger: false });
    await other.connect();
    await other.append('INBOX', 'Subject: flow\\r\\nMessage-ID: <flow@test>\\r\\n\\r\\nx\\r\\n', ['\\\\Flagged']);
    await other.logout();
    assert.strictEqual((await told).count, 4);
    await client.mailboxCreate('flow/älter');
    await client.messageMove('3', 'flow/älter');
    await client.messageFlagsAdd('1', ['\\\\Answered']);
    lock.release();
    const status = await client.status('flow/älter', { messages: true, unseen: true });
    assert.strictEqual(status.messages, 1);
    await client.logout();
    console.log('done');
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.client("imapflow")
async def test_imapflow_compresses_resynchronises_and_idles(
    ours: Target, theirs: Target | None, program: Program
) -> None:
    node = program("node")
    modules = Path(__file__).parents[2] / ".venv" / "npm" / "node_modules"
    if not (modules / "imapflow").exists():
        program("imapflow")  # skips, or fails in CI

    def drive(target: Target) -> None:
        script = target.home / "drive.js"
        script.write_text(NODE)
        environment = ["env", f"NODE_PATH={modules}"]
        assert "done" in target.run(*environment, node, script, target.host, str(target.port), ACCOUNT, PASSWORD)

    state = await both(ours, theirs, drive)
    assert flags_of(state)["<flow@test>"] == ("\\Flagged",)
    assert list(flags_of(state, "flow/&AOQ-lter")) == ["<three@beta.test>"]


@pytest.mark.client("interimap")
async def test_interimap_keeps_this_server_and_dovecot_alike(
    ours: Target, theirs: Target | None, program: Program
) -> None:
    interimap = program("interimap")
    if theirs is None:
        program("dovecot")  # skips, or fails in CI: it synchronises two servers by QRESYNC
        return

    def section(name: str, target: Target) -> str:
        return (
            f"[{name}]\ntype = imap\nhost = {target.host}\nport = {target.port}\nusername = {ACCOUNT}\n"
            f"password = {PASSWORD}\nSTARTTLS = NO\nnull-stderr = YES\n"
        )

    def synchronise() -> None:
        (ours.home / "config").write_text(
            f"database = {ours.home}/state.db\nlist-mailbox = *\n" + section("local", ours) + section("remote", theirs)
        )
        ours.run(interimap, "--config", ours.home / "config")

    def change(target: Target, *commands: tuple[str, ...]) -> None:
        with imaplib.IMAP4(target.host, target.port) as client:
            client.login(ACCOUNT, PASSWORD)
            client.select("INBOX")
            for command in commands:
                assert client.uid(*command)[0] == "OK"

    await asyncio.to_thread(synchronise)
    # What each had is now at the other as well: six messages, twice the same three.
    assert len((await asyncio.to_thread(ours.state))["INBOX"]) == 6
    await asyncio.to_thread(
        change, ours, ("STORE", "1", "+FLAGS", "(\\Flagged)"), ("STORE", "2", "+FLAGS", "\\Deleted")
    )
    await asyncio.to_thread(change, ours, ("EXPUNGE", "2"))
    await asyncio.to_thread(change, theirs, ("STORE", "3", "+FLAGS", "(\\Answered)"))
    await asyncio.to_thread(synchronise)
    left = await asyncio.to_thread(ours.state)
    assert len(left["INBOX"]) == 5
    assert left == await asyncio.to_thread(theirs.state)
