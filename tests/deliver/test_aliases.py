"""Aliases: expansion of envelopes, and loops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.deliver.aliases import MAX_DEPTH, Alias, Aliases, expand
from mailsandbox.message.envelope import Envelope, Recipient

BOTH = Alias(("a@x.test", "b@x.test"))
ONE = Alias(("a@x.test",))
LIST = Alias(("a@x.test",), owner="owner@x.test")


def aliases(table, local=lambda address: address.endswith("x.test")):
    return Aliases({name: Alias(tuple(members)) for name, members in table.items()}, is_local=local)


@pytest.mark.parametrize(
    ("alias", "given", "notify"),
    [
        (ONE, {"SUCCESS", "DELAY"}, {"SUCCESS", "DELAY"}),
        (BOTH, {"SUCCESS", "DELAY"}, {"DELAY"}),
        (BOTH, {"SUCCESS"}, {"NEVER"}),
        (BOTH, {"NEVER"}, {"NEVER"}),
        (BOTH, set(), set()),
        (LIST, {"SUCCESS", "FAILURE"}, set()),
    ],
)
@pytest.mark.rfc(3461, "5.2.7")
def test_notify_goes_on_as_the_number_of_members_allows(alias, given, notify):
    recipient = Recipient("team@x.test", frozenset(given))
    expanded = expand(Envelope("s@y.test", (recipient,)), recipient, alias)
    assert expanded.addresses == list(alias.members)
    assert {one.notify for one in expanded.recipients} == {frozenset(notify)}


@pytest.mark.rfc(3461, "5.2.7.2")
@pytest.mark.parametrize(
    ("address", "orcpt", "passed_on"),
    [
        ("team+x@x.test", "", "rfc822;team+2Bx@x.test"),
        ("zoë@x.test", "", "utf-8;zo\\x{EB}@x.test"),
        ("team@x.test", "rfc822;first@y.test", "rfc822;first@y.test"),
    ],
)
def test_the_original_recipient_is_the_address_that_the_sender_knows(address, orcpt, passed_on):
    recipient = Recipient(address, orcpt=orcpt)
    envelope = Envelope("s@y.test", (recipient,), ret="HDRS", envid="E1")
    for alias in (ONE, BOTH):
        expanded = expand(envelope, recipient, alias)
        assert {one.orcpt for one in expanded.recipients} == {passed_on}
        assert (expanded.reverse_path, expanded.ret, expanded.envid) == ("s@y.test", "HDRS", "E1")


@pytest.mark.rfc(3461, "5.2.7.1")
def test_a_list_passes_none_of_the_senders_parameters_on():
    recipient = Recipient("list@x.test", frozenset({"DELAY"}), "rfc822;list@x.test")
    envelope = Envelope("s@y.test", (recipient,), ret="FULL", envid="E1", deliver_by="60;R", require_tls=True)
    expanded = expand(envelope, recipient, LIST)
    assert expanded == Envelope("owner@x.test", (Recipient("a@x.test"),), require_tls=True)


def test_an_address_in_any_case_is_found_and_one_of_another_site_is_not():
    found = aliases({"Team@x.test": ["a@x.test"], "team@y.test": ["a@x.test"]})
    assert found.find("tEAM@X.test") is not None
    assert found.find("team@y.test") is None
    assert not aliases({"team@y.test": ["a@x.test"]})


def test_a_loop_is_told_by_its_path_and_naming_itself_is_none():
    found = aliases(
        {
            "a@x.test": ["a@x.test", "b@x.test"],
            "b@x.test": ["c@y.test", "C@x.test"],
            "c@x.test": ["b@x.test"],
            "self@x.test": ["self@x.test"],
        }
    )
    assert str(found.loop("a@x.test")) == "a@x.test -> b@x.test -> c@x.test -> b@x.test"
    assert found.loop("self@x.test") is None


def test_a_chain_without_end_in_sight_counts_as_a_loop():
    chain = {f"{number}@x.test": [f"{number + 1}@x.test"] for number in range(MAX_DEPTH + 2)}
    assert aliases(chain).loop("0@x.test") is not None
    assert aliases(chain).loop("5@x.test") is None


NAMES = st.sampled_from([f"{letter}@x.test" for letter in "abcdef"])


@given(st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3)))
def test_what_is_no_loop_expands_to_an_end(table):
    found = aliases(table)

    def leaves(address, within):
        alias = found.find(address)
        if alias is None or address in within:
            return [address]
        return [leaf for member in alias.members for leaf in leaves(member, (*within, address))]

    for name in table:
        if found.loop(name) is None:
            assert all(found.find(leaf) is None or leaf in table[leaf] for leaf in leaves(name, ()))


def test_many_ways_to_the_same_members_are_looked_at_once():
    table = {f"{level}@x.test": [f"{level + 1}@x.test", f"{level + 1}b@x.test"] for level in range(MAX_DEPTH - 1)}
    table |= {f"{level}b@x.test": [f"{level + 1}@x.test", f"{level + 1}b@x.test"] for level in range(MAX_DEPTH - 1)}
    assert aliases(table).loop("0@x.test") is None  # a million ways
