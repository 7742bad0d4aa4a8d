"""Laws of both gates over mutated mail: every octet string is accepted, converted or refused, and nothing is raised.

`MAILSANDBOX_HYPOTHESIS=nightly` runs 100,000 examples of each.
"""

import re
from pathlib import Path

import pytest
from encoding_comparing import differences
from encoding_gates import S7, S8, SB, SU, received, relay, untouched
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.encoding import Accept, Convert, Refuse, classify, is_clean

GOLDEN = Path(__file__).parent / "golden"
MESSAGES = [path.read_bytes() for path in sorted(GOLDEN.glob("*.eml"))]
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
if CORPUS.is_dir():
    MESSAGES += [
        re.sub(rb"\r\n|\n", b"\r\n", path.read_bytes())
        for path in sorted(CORPUS.glob("*/*"))
        if path.parent.name != "LICENCES" and path.stat().st_size < 10_000
    ]

TOKENS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\0", b"--", b"\xc3\xbc", b"\xe9", b"=", b"=?", b"?=", b'"', b"(", b")", b"<", b">",
        b"@", b";", b":", b",", b" ", b"x" * 1200, b"\xff" * 5, b"\\", b"*=", b"'", b".\r\n", b"=\xc3", b"=4\xc3",
        b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: base64\r\n", b"multipart/mixed",
        b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Type: message/rfc822\r\n\r\n",
        b"Subject: \xc3\xbc\r\n", b"To: \xc3\xbc <\xe9@x>\r\n", b"--b\r\n", b"--b--\r\n",
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real message with a few accidents."""
    octets = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(octets)))
        match draw(st.integers(0, 4)):
            case 0 | 1:
                octets[at:at] = draw(TOKENS)
            case 2:
                del octets[at : at + draw(st.integers(1, 80))]
            case 3:
                octets[at:at] = octets[: draw(st.integers(0, 400))]
            case _:
                octets[at : at + 1] = bytes([draw(st.integers(0, 255))])
    return bytes(octets)


any_octets = st.one_of(mutated(), mutated(), mutated(), st.binary(max_size=300))


@pytest.mark.rfc(6152, "3")
@given(any_octets)
def test_to_a_7bit_hop_goes_clean_text_that_says_the_same(octets):
    verdict = relay(octets)
    if isinstance(verdict, Refuse):
        assert verdict.reply.permanent
        assert verdict.findings[0].fatal
        return
    assert is_clean(verdict.octets)
    assert differences(octets, verdict.octets) == []
    assert (verdict.body, verdict.smtputf8, verdict.use_bdat) == ("", False, False)
    again = relay(verdict.octets)
    assert isinstance(again, Accept)
    assert again.octets == verdict.octets
    if isinstance(verdict, Convert):
        untouched(octets, verdict)
    else:
        assert verdict.octets is octets


@pytest.mark.rfc(6152, "2")
@given(any_octets, st.sampled_from([S8, SU, SB]), st.booleans())
def test_to_other_hops_goes_what_they_offer(octets, offers, smtputf8):
    verdict = relay(octets, offers, smtputf8=smtputf8)
    if isinstance(verdict, Refuse):
        return
    match verdict.body:
        case "":
            assert is_clean(verdict.octets)
        case "8BITMIME":
            assert is_clean(re.sub(rb"[\x80-\xff]", b"x", verdict.octets))
        case other:
            assert (other, verdict.use_bdat) == ("BINARYMIME", True)
    assert verdict.smtputf8 <= ("SMTPUTF8" in offers)
    again = relay(verdict.octets, offers, smtputf8=smtputf8)
    assert not isinstance(again, Refuse)
    assert again.octets == verdict.octets


@given(any_octets, st.sampled_from(["postfix", "sendmail", "exim"]), st.sampled_from([S7, S8]))
def test_emulations_answer_for_any_octets(octets, who, offers):
    verdict = relay(octets, offers, emulate=who)
    if isinstance(verdict, Convert):
        untouched(octets, verdict)


@given(any_octets)
def test_repairing_sites_send_clean_text_too(octets):
    verdict = relay(octets, repair=True, break_signatures=True)
    assert isinstance(verdict, Refuse) or is_clean(verdict.octets)


@given(any_octets, st.sampled_from(["", "8BITMIME", "BINARYMIME"]), st.booleans(), st.booleans())
def test_the_receive_gate_answers_for_any_octets(octets, body, smtputf8, via_bdat):
    strict = received(octets, "strict", body=body, smtputf8=smtputf8, via_bdat=via_bdat)
    lenient = received(octets, "lenient", body=body, smtputf8=smtputf8, via_bdat=via_bdat)
    assert not isinstance(strict, Convert)
    assert not isinstance(lenient, Convert)
    if isinstance(lenient, Refuse):
        assert isinstance(strict, Refuse)
    if isinstance(strict, Accept):
        assert is_clean(octets) or body or smtputf8


@pytest.mark.rfc(5321, "2.3.8")
@given(any_octets)
def test_normalizing_touches_bare_lf_only(octets):
    verdict = received(octets, "normalize")
    if isinstance(verdict, Refuse):
        return
    assert verdict.octets == re.sub(rb"(?<!\r)\n", b"\r\n", octets)


@pytest.mark.rfc(5321, "2.3.8")
@given(st.lists(st.sampled_from([b"a", b"bc" * 300, b"\r\n", b"\r", b"\n"]), max_size=12), st.integers(-3, 3))
def test_clean_octets_have_no_line_end_but_crlf(pieces, shift):
    """Around the joints of what the classifier looks at in pieces, too."""
    filling = (b"x" * 62 + b"\r\n") * (classify._PIECE // 64)
    octets = filling[: len(filling) + shift] + b"".join(pieces)
    lines = re.split(rb"\r\n", octets)
    assert is_clean(octets) == all(len(line) <= 998 and not re.search(rb"[\r\n]", line) for line in lines)
