"""Client libraries of other languages, each doing the same in its own way: what they leave is the same, and Dovecot's.

Search for the reply and expunge it, copy the first message to a new mailbox, flag the last.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from private_dovecot import PASSWORD

from tests.imap.serving import ACCOUNT, Server
from tests.imap.targets import Program, Target, both, flags_of

SIMPLE = """
use strict; use Net::IMAP::Simple;
my ($host, $port, $user, $password) = @ARGV;
my $imap = Net::IMAP::Simple->new("$host:$port") or die $Net::IMAP::Simple::errstr;
$imap->login($user, $password) or die $imap->errstr;
die 'count' unless $imap->select('INBOX') == 3;
my @found = $imap->search('SUBJECT "Re: Hello"'); die "@found" unless "@found" eq '2';
die 'body' unless join('', @{$imap->get(1)}) =~ /Hi Bob/;
$imap->create_mailbox('box') or die $imap->errstr;
$imap->copy(1, 'box') or die $imap->errstr;
$imap->delete(2) or die $imap->errstr;
$imap->expunge_mailbox or die $imap->errstr;
$imap->add_flags(2, '\\\\Flagged') or die $imap->errstr;
print 'done'; $imap->quit;
"""

TALK = """
use strict; use Mail::IMAPTalk;
my ($host, $port, $user, $password) = @ARGV;
my $imap = Mail::IMAPTalk->new(Server => $host, Port => $port, Username => $user, Password => $password, Uid => 1)
    or die "login: $@";
$imap->select('INBOX') or die $@;
my $found = $imap->search('subject', 'Re: Hello') or die $@; die "@$found" unless "@$found" eq '2';
my $sorted = $imap->sort('(reverse date)', 'utf-8', 'all') or die $@; die "@$sorted" unless "@$sorted" eq '3 2 1';
$imap->thread('references', 'utf-8', 'all') or die $@;
my $all = $imap->fetch('1:*', '(envelope bodystructure flags rfc822.size)') or die $@;
die 'envelope' unless $all->{2}{envelope}{Subject} eq 'Re: Hello';
die 'structure' unless @{$all->{2}{bodystructure}{'MIME-Subparts'}} == 2;
$imap->create('box') or die $@;
$imap->copy('1', 'box') or die $@;
$imap->store('2', '+flags', '(\\\\deleted)') or die $@;
$imap->expunge or die $@;
$imap->store('3', '+flags', '(\\\\flagged)') or die $@;
$imap->fetch('1', 'body[]') or die $@;
die 'status' unless $imap->status('box', '(messages)')->{messages} == 1;
print 'done'; $imap->logout;
"""

CLIENT = """
use strict; use Net::IMAP::Client;
my ($host, $port, $user, $password) = @ARGV;
my $imap = Net::IMAP::Client->new(server => $host, port => $port, user => $user, pass => $password, ssl => 0) or die;
$imap->login or die $imap->last_error;
$imap->select('INBOX') or die $imap->last_error;
my $found = $imap->search({ subject => 'Re: Hello' }, 'DATE'); die "@$found" unless "@$found" eq '2';
my $summaries = $imap->get_summaries('1:*'); die 'summary' unless $summaries->[1]->subject eq 'Re: Hello';
die 'body' unless ${$imap->get_rfc822_body(1)} =~ /Hi Bob/;
$imap->create_folder('box') or die $imap->last_error;
$imap->copy(1, 'box') or die $imap->last_error;
$imap->delete_message(2); $imap->expunge;
$imap->add_flags(3, '\\\\Flagged') or die $imap->last_error;
print 'done'; $imap->logout;
"""

PHP = r"""<?php
[, $host, $port, $user, $password] = $argv;
$server = "{" . "$host:$port/imap/notls" . "}";
function sure($what) { if ($what === false) { echo imap_last_error(), "\n"; exit(1); } return $what; }
$imap = sure(imap_open($server . "INBOX", $user, $password));
if (imap_num_msg($imap) != 3) exit(2);
if (sure(imap_search($imap, 'SUBJECT "Re: Hello"')) != [2]) exit(3);
if (sure(imap_sort($imap, SORTDATE, true)) != [3, 2, 1]) exit(4);
if (!str_contains(imap_body($imap, 1), "Hi Bob")) exit(5);
if (count(imap_fetchstructure($imap, 2)->parts) != 2) exit(6);
if (base64_decode(imap_fetchbody($imap, 2, "2", FT_PEEK)) != "\0\1\2\3") exit(7);
sure(imap_createmailbox($imap, $server . "box"));
sure(imap_mail_copy($imap, "1", "box"));
sure(imap_delete($imap, "2"));
sure(imap_expunge($imap));
sure(imap_setflag_full($imap, "2", "\\Flagged"));
if (sure(imap_status($imap, $server . "box", SA_ALL))->messages != 1) exit(8);
imap_errors();
imap_close($imap);
echo "done";
"""

RUBY = r"""
require 'net/imap'
host, port, user, password = ARGV
imap = Net::IMAP.new(host, port: port.to_i)
imap.authenticate('PLAIN', user, password)
imap.select('INBOX')
raise 'search' unless imap.search(['SUBJECT', 'Re: Hello']) == [2]
raise 'sort' unless imap.sort(['REVERSE', 'DATE'], ['ALL'], 'UTF-8') == [3, 2, 1]
raise 'thread' unless imap.thread('REFERENCES', ['ALL'], 'UTF-8').length == 2
fetched = imap.fetch(2, ['ENVELOPE', 'BODYSTRUCTURE', 'UID', 'FLAGS', 'INTERNALDATE', 'RFC822.SIZE']).first
raise 'envelope' unless fetched.attr['ENVELOPE'].subject == 'Re: Hello'
raise 'structure' unless fetched.attr['BODYSTRUCTURE'].parts.length == 2
imap.create('box')
imap.uid_copy(1, 'box')
imap.store(2, '+FLAGS', [:Deleted])
raise 'expunge' unless imap.expunge == [2]
imap.store(2, '+FLAGS', [:Flagged])
imap.fetch(1, 'BODY[]')
raise 'status' unless imap.status('box', ['MESSAGES'])['MESSAGES'] == 1
imap.logout
puts 'done'
"""

NODE = r"""
const Imap = require('imap'), { promisify } = require('util');
const [host, port, user, password] = process.argv.slice(2);
const imap = new Imap({ user, password, host, port: Number(port), tls: false });
const call = (name, ...rest) => promisify(imap[name].bind(imap))(...rest);
const check = (what, name) => { if (!what) throw new Error(name); };
imap.once('error', error => { console.error(error); process.exit(1); });
imap.once('ready', async () => {
    try {
        check((await call('openBox', 'INBOX', false)).messages.total === 3, 'total');
        check(String(await call('search', [['SUBJECT', 'Re: Hello']])) === '2', 'search');
        check(String(await call('sort', ['-DATE'], ['ALL'])) === '3,2,1', 'sort');
        const found = imap.fetch([2], { struct: true, envelope: true, bodies: [''] });
        const [attributes] = await new Promise(resolve => found.once('message', message => {
            message.on('body', stream => stream.resume());
            message.once('attributes', (...all) => resolve(all));
        }));
        check(attributes.envelope.subject === 'Re: Hello' && attributes.struct.length === 3, 'fetch');
        await call('addBox', 'box');
        await call('copy', [1], 'box');
        await call('addFlags', [1], 'Seen');
        await call('addFlags', [2], 'Deleted');
        await call('expunge', [2]);
        await call('addFlags', [3], 'Flagged');
        imap.once('close', () => console.log('done'));
        imap.end();
    } catch (error) { console.error(error); process.exit(1); }
});
imap.connect();
"""


@dataclass(frozen=True)
class Library:
    """`needs`: files below / that show that it is installed."""

    name: str
    program: str
    suffix: str
    text: str
    needs: str = ""


NPM = Path(__file__).parents[2] / ".venv" / "npm" / "node_modules"
LIBRARIES = [
    Library("Net::IMAP::Simple", "perl", "pl", SIMPLE, "usr/share/perl5/Net/IMAP/Simple.pm"),
    Library("Mail::IMAPTalk", "perl", "pl", TALK, "usr/share/perl5/Mail/IMAPTalk.pm"),
    Library("Net::IMAP::Client", "perl", "pl", CLIENT, "usr/share/perl5/Net/IMAP/Client.pm"),
    Library("php-imap", "php", "php", PHP, "etc/php/*/cli/conf.d/20-imap.ini"),
    Library("net-imap of Ruby", "ruby", "rb", RUBY),
    Library("imap of npm", "node", "js", NODE, str(NPM / "imap")[1:]),
]


@pytest.mark.client("libraries")
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
async def test_a_library_does_the_same_here_and_at_dovecot(
    library: Library, server: Server, ours: Target, theirs: Target | None, program: Program
) -> None:
    interpreter = program(library.program)
    if library.needs and not await asyncio.to_thread(lambda: list(Path("/").glob(library.needs))):
        program(library.name)  # skips, or fails in CI

    def drive(target: Target) -> None:
        script = target.home / f"drive.{library.suffix}"
        script.write_text(library.text)
        environment = ["env", f"NODE_PATH={NPM}"]
        said = target.run(*environment, interpreter, script, target.host, str(target.port), ACCOUNT, PASSWORD)
        assert "done" in said

    state = await both(ours, theirs, drive)
    assert flags_of(state) == {"<one@alpha.test>": ("\\Seen",), "<three@beta.test>": ("\\Flagged",)}
    assert list(flags_of(state, "box")) == ["<one@alpha.test>"]
    refused = [line.text for record in server.context.sessions for line in record.transcript if " BAD " in line.text]
    assert refused == []
