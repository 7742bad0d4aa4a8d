"""DANE: usages, selectors and matching types (RFC 6698 §2.1), authorities and names (RFC 7671, RFC 7672)."""

import asyncio
import hashlib

import pytest
import uvloop
from certificate_chains import issue, server_context
from next_hop import NextHop
from rig import Rig

from mailsandbox.relay.dane import dane_refusal, usable
from mailsandbox.relay.tls import TlsPolicy
from mailsandbox.relay.zone import TlsaRecord

ROOT = issue("root", authority=True)
MIDDLE = issue("middle", ROOT, authority=True)
LEAF = issue("leaf", MIDDLE, names=["mx.beta.test"])
OTHER = issue("root", authority=True)
CHAIN = [LEAF.der, MIDDLE.der, ROOT.der]


def record(usage, selector, matching, issued) -> TlsaRecord:
    octets = issued.public_key if selector else issued.der
    data = {0: octets.hex(), 1: hashlib.sha256(octets).hexdigest(), 2: hashlib.sha512(octets).hexdigest()}[matching]
    return TlsaRecord(usage, selector, matching, data)


def refusal(*records, chain=CHAIN, names=("mx.beta.test",)) -> str:
    return dane_refusal(records, chain, names=names)


@pytest.mark.rfc(6698, "2.1")
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize(("usage", "pinned"), [(3, LEAF), (2, MIDDLE), (2, ROOT)])
def test_every_usable_combination_matches_what_it_pins_and_nothing_else(usage, selector, matching, pinned):
    assert refusal(record(usage, selector, matching, pinned)) == ""
    assert refusal(record(usage, selector, matching, OTHER)) != ""


@pytest.mark.rfc(7672, "3.1.1")
def test_names_and_dates_do_not_count_where_the_certificate_itself_is_pinned():
    old = issue("old", ROOT, names=["else.test"], days=-1)
    assert refusal(record(3, 1, 1, old), chain=[old.der]) == ""


@pytest.mark.rfc(7672, "3.2.2")
@pytest.mark.parametrize(
    ("names", "wanted", "fits"),
    [
        (["mx.beta.test"], ["mx.beta.test", "beta.test"], True),
        (["beta.test"], ["mx.beta.test", "beta.test"], True),
        (["*.beta.test"], ["mx.beta.test"], True),
        (["*.beta.test"], ["a.mx.beta.test"], False),
        (["gamma.test"], ["mx.beta.test", "beta.test"], False),
        ([], ["mx.beta.test"], False),
    ],
)
def test_an_authority_vouches_for_the_servers_or_the_domains_name(names, wanted, fits):
    leaf = issue("mx.beta.test", ROOT, names=names)
    assert (refusal(record(2, 0, 1, ROOT), chain=[leaf.der, ROOT.der], names=wanted) == "") is fits


@pytest.mark.rfc(7671, "5.2")
def test_dates_and_signatures_count_where_an_authority_is_pinned():
    old = issue("old", ROOT, names=["mx.beta.test"], days=-1)
    forged = issue("forged", OTHER, names=["mx.beta.test"])  # by an authority of the same name
    below = issue("below", LEAF, names=["mx.beta.test"])  # by a certificate that is no authority's
    assert refusal(record(2, 0, 1, ROOT), chain=[old.der, ROOT.der])
    assert refusal(record(2, 0, 1, ROOT), chain=[forged.der, ROOT.der])
    assert refusal(record(2, 0, 1, ROOT), chain=[below.der, *CHAIN])
    assert refusal(record(2, 0, 1, LEAF), chain=[below.der, *CHAIN])


@pytest.mark.rfc(7671, "5.2.2")
def test_an_authority_that_stands_in_the_record_need_not_be_sent():
    assert refusal(record(2, 0, 0, ROOT), chain=[LEAF.der, MIDDLE.der]) == ""
    assert refusal(record(2, 0, 1, ROOT), chain=[LEAF.der, MIDDLE.der]) != ""


@pytest.mark.rfc(7672, "3.1.3")
def test_what_is_not_understood_is_unusable_and_never_matches():
    good = record(3, 1, 1, LEAF)
    odd = [
        TlsaRecord(0, 1, 1, good.data),
        TlsaRecord(1, 1, 1, good.data),
        TlsaRecord(3, 2, 1, good.data),
        TlsaRecord(3, 1, 3, good.data),
        TlsaRecord(3, 1, 2, good.data),
        TlsaRecord(3, 1, 1, good.data[:-2]),
    ]
    assert not any(map(usable, odd))
    assert refusal(*odd) != ""
    assert refusal(*odd, good) == ""
    assert refusal(good, chain=[]) == "it shows no certificate"
    assert refusal(record(2, 0, 1, ROOT), chain=[b"rubbish", ROOT.der]).endswith("malformed")
    assert refusal(TlsaRecord(2, 0, 0, "abcd")).endswith("malformed")


async def _send(directory, tlsa, chain, **records):
    """Whether a message goes to a server that shows `chain`, and what is said if not."""
    hop = await NextHop(offers=("PIPELINING", "STARTTLS"), tls=server_context(directory, chain)).start()
    rig = await Rig(tls=TlsPolicy("opportunistic")).start()
    rig.zone(
        {
            "beta.test": {"MX": "10 mx.beta.test", **records},
            "mx.beta.test": {"A": "127.0.0.1", "port": hop.port, "TLSA": tlsa},
        }
    )
    try:
        queue_id = await rig.send("b@beta.test")
        [attempt] = rig.attempts(queue_id)
        return [got.tls for got in hop.messages], attempt.outcomes[0].reply
    finally:
        await rig.aclose()
        await hop.aclose()


@pytest.mark.rfc(7672, "3.1.2")
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_chain_that_the_server_shows_is_what_is_looked_at(run, tmp_path):
    pinned = record(2, 0, 1, ROOT)
    sent, _ = run(_send(tmp_path, f"2 0 1 {pinned.data}", [LEAF, MIDDLE, ROOT]))
    assert sent == [True]
    sent, said = run(_send(tmp_path, f"2 0 1 {record(2, 0, 1, OTHER).data}", [LEAF, MIDDLE, ROOT]))
    assert (sent, said[:9]) == ([], "454 4.7.5")
    assert "does not match the TLSA records (DANE)" in said
    sent, said = run(_send(tmp_path, f"2 0 1 {pinned.data}", [issue("x", ROOT, names=["x.test"]), ROOT]))
    assert (sent, said[:9]) == ([], "454 4.7.5")


@pytest.mark.rfc(7672, "2.1.2")
async def test_a_server_whose_tlsa_records_can_not_be_had_is_not_used(tmp_path):
    sent, said = await _send(tmp_path, "SERVFAIL", [LEAF])
    assert (sent, said[:9]) == ([], "451 4.7.5")


@pytest.mark.rfc(7672, "2.2")
async def test_records_none_of_which_is_usable_ask_for_tls_without_authentication(tmp_path):
    sent, _ = await _send(tmp_path, f"1 1 1 {'00' * 32}", [LEAF])
    assert sent == [True]


@pytest.mark.rfc(8461, "2")
async def test_mta_sts_never_overrides_dane(tmp_path):
    policy = {"mode": "enforce", "mx": ["mx.beta.test"]}
    sent, _ = await _send(tmp_path, f"3 1 1 {'00' * 32}", [LEAF], mta_sts=policy)
    assert sent == []
