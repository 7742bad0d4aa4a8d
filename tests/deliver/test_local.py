"""Final delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.deliver.local import deliveries, went_round, without_return_path
from mailsandbox.message.envelope import Envelope, Recipient

PLAIN = b"From: a@alpha.test\r\nSubject: x\r\n\r\nReturn-Path: <in the body>\r\n"


@pytest.mark.rfc(5321, "4.4")
def test_each_copy_begins_with_the_envelopes_return_path_and_names_its_address():
    recipients = [Recipient("Bob@beta.test"), Recipient("c@beta.test")]
    bob, other = deliveries(Envelope("a@alpha.test", tuple(recipients)), recipients, trace=b"Received: by x\r\n")
    assert bob.trace == b"Return-Path: <a@alpha.test>\r\nDelivered-To: Bob@beta.test\r\nReceived: by x\r\n"
    assert (bob.account, bob.recipient) == ("bob@beta.test", "Bob@beta.test")
    assert b"Delivered-To: c@beta.test" in other.trace


def test_null_path_is_written_as_empty_brackets():
    [copy] = deliveries(Envelope("", (Recipient("b@beta.test"),)), [Recipient("b@beta.test")])
    assert copy.trace.startswith(b"Return-Path: <>\r\n")


@pytest.mark.rfc(5321, "4.4")
@pytest.mark.parametrize(
    ("octets", "cleaned"),
    [
        (PLAIN, PLAIN),
        (b"Return-Path: <x@y>\r\n" + PLAIN, PLAIN),
        (b"RETURN-PATH : <x@y>\r\n\t(folded)\r\n" + PLAIN, PLAIN),
        (b"A: 1\r\nreturn-path:<x>\r\nReturn-Path:\r\n" + PLAIN, b"A: 1\r\n" + PLAIN),
        (b"X-Return-Path: <x@y>\r\n" + PLAIN, b"X-Return-Path: <x@y>\r\n" + PLAIN),
        (b"Return-Path: <x>\n\nbody\n", b"\nbody\n"),
        (b"Return-Path: <x>", b""),
        (b"\r\nReturn-Path: <x>\r\n", b"\r\nReturn-Path: <x>\r\n"),
        (b"", b""),
    ],
)
def test_return_paths_of_earlier_deliveries_are_removed_and_nothing_else(octets, cleaned):
    assert without_return_path(octets) == cleaned


def test_message_without_return_path_is_the_same_object():
    assert without_return_path(PLAIN) is PLAIN


@given(st.binary(max_size=200))
def test_removing_twice_is_removing_once(octets):
    once = without_return_path(octets)
    assert without_return_path(once) == once


def test_delivered_to_of_the_same_address_is_a_loop():
    octets = b"Delivered-To: Bob@Beta.test\r\n" + PLAIN
    assert went_round(octets, "bob@beta.test")
    assert not went_round(octets, "c@beta.test")
    assert not went_round(PLAIN + b"Delivered-To: b@beta.test\r\n", "b@beta.test")
