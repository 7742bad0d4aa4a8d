"""Each mechanism against the exchanges printed in its RFC, and against clients that break the rules."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsandbox.sasl import MECHANISMS, Challenge, Failure, FailureCode, Success, exchange, mechanisms
from mailsandbox.sasl.preparation import saslprep
from mailsandbox.sasl.scram import Scram
from mailsandbox.store.credentials import AccountSpec, Credentials

ANY = Credentials()
KNOWN = Credentials(
    any_account=False,
    specs={"tim": AccountSpec("tanstaaftanstaaf"), "user": AccountSpec("pencil"), "kurt": AccountSpec("xipj3plmq")},
)


def begin(mechanism, credentials=KNOWN, **how):
    started = exchange(mechanism, credentials, **how)
    assert started is not None
    return started


@pytest.mark.rfc(4616, "4")
@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"\0tim\0tanstaaftanstaaf", Success("tim", "tim")),
        (b"tim\0tim\0tanstaaftanstaaf", Success("tim", "tim")),
        (b"Kurt\0tim\0tanstaaftanstaaf", FailureCode.FORBIDDEN),
        (b"\0tim\0wrong", FailureCode.CREDENTIALS),
        (b"\0nobody\0x", FailureCode.CREDENTIALS),
        (b"tim\0tanstaaftanstaaf", FailureCode.MALFORMED),
        (b"\0tim\0x\0y", FailureCode.MALFORMED),
        (b"\0\0x", FailureCode.MALFORMED),
        (b"\0tim\0", FailureCode.MALFORMED),
        (b"\0tim\0\xff", FailureCode.MALFORMED),
        (b"a\r\nb\0tim\0tanstaaftanstaaf", FailureCode.MALFORMED),
        (b"\0tim\0" + b"x" * 5000, FailureCode.MALFORMED),
        (b"", FailureCode.MALFORMED),
    ],
)
def test_plain_takes_three_fields_and_nothing_else(response, outcome):
    step = begin("plain").start(response)
    assert step == outcome or (isinstance(step, Failure) and step.code == outcome)


@pytest.mark.rfc(4013, "2.3")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("name", ["a\r\n250 x", "a\x00", "a\x7f", "a\x85b", "\u2028"])
def test_no_name_has_control_characters_though_any_account_may_be(mechanism, name):
    asked = begin(mechanism, ANY)
    match mechanism:
        case "PLAIN":
            step = asked.start(f"\0{name}\0pw".encode())
        case "LOGIN":
            asked.start(None)
            step = asked.respond(name.encode())
            step = asked.respond(b"pw") if isinstance(step, Challenge) else step
        case "XOAUTH2":
            step = asked.start(f"user={name}\1auth=Bearer t\1\1".encode())
        case _:
            step = asked.start(f"n,a={name},\1auth=Bearer t\1\1".encode())
    if isinstance(step, Challenge):
        step = asked.respond(b"\1")  # RFC 7628 §3.2.3: the client acknowledges the error
    assert isinstance(step, Failure)
    assert step.reason.isprintable()


@pytest.mark.rfc(4422, "3.3")
@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256"])
def test_without_an_initial_response_the_first_challenge_is_empty(mechanism):
    assert begin(mechanism).start(None) == Challenge(b"")


def test_login_asks_for_login_and_password():
    asked = begin("LOGIN")
    assert asked.start(None) == Challenge(b"Username:")
    assert asked.respond(b"tim") == Challenge(b"Password:")
    assert asked.respond(b"tanstaaftanstaaf") == Success("tim", "tim")


def test_login_takes_the_login_as_initial_response():
    asked = begin("LOGIN")
    assert asked.start(b"tim") == Challenge(b"Password:")
    assert asked.respond(b"wrong").code == FailureCode.CREDENTIALS


@pytest.mark.rfc(2195, "2")
def test_cram_md5_agrees_with_the_rfc_s_example():
    asked = begin("CRAM-MD5", nonce=lambda: "1896.697170952", hostname="postoffice.reston.mci.net")
    assert asked.start(None) == Challenge(b"<1896.697170952@postoffice.reston.mci.net>")
    assert asked.respond(b"tim b913a602c7eda7a495b4e6e7334d3890") == Success("tim", "tim")


@pytest.mark.rfc(4422, "4")
@pytest.mark.parametrize("initial", [b"", b"tim", b"tim b913a602c7eda7a495b4e6e7334d3890"])
def test_cram_md5_has_no_initial_response_not_even_an_empty_one(initial):
    assert begin("CRAM-MD5").start(initial).code == FailureCode.MALFORMED


@pytest.mark.rfc(2195, "2")
@pytest.mark.parametrize(
    "digest", [b"tim 00000000000000000000000000000000", b"nobody b913a602c7eda7a495b4e6e7334d3890"]
)
def test_cram_md5_refuses_another_digest(digest):
    asked = begin("CRAM-MD5")
    asked.start(None)
    assert asked.respond(digest).code == FailureCode.CREDENTIALS


def test_cram_md5_takes_any_digest_where_any_password_is_right():
    asked = begin("CRAM-MD5", ANY)
    asked.start(None)
    assert asked.respond(b"new@alpha.test " + b"0" * 32) == Success("new@alpha.test", "new@alpha.test")


@pytest.mark.rfc(5802, "5")
def test_scram_sha_1_agrees_with_the_rfc_s_example():
    asked = Scram(KNOWN, nonce=lambda: "3rfcNHYJY1ZVvWVs7j", salt_key=b"", digest="sha1")
    asked.start(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    asked._begun = type(asked._begun)(
        **{
            **{name: getattr(asked._begun, name) for name in asked._begun.__slots__},
            "first": b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "salt": base64.b64decode("QSXCR+Q6sek8bf92"),
        }
    )
    step = asked.respond(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    assert step == Challenge(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")
    assert asked.respond(b"") == Success("user", "user")


@pytest.mark.rfc(7677, "3")
def test_scram_sha_256_agrees_with_the_rfc_s_example():
    asked = Scram(KNOWN, nonce=lambda: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt_key=b"")
    asked.start(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    asked._begun = type(asked._begun)(
        **{
            **{name: getattr(asked._begun, name) for name in asked._begun.__slots__},
            "first": b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "salt": base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
        }
    )
    proof = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    step = asked.respond(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=" + proof)
    assert step == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert asked.respond(b"") == Success("user", "user")


def scram_client(asked, login, password, *, header=b"n,,", channel=None, tamper=lambda final: final):
    """A SCRAM-SHA-256 client, written from RFC 5802 §3: returns the last step."""
    bare = b"n=%b,r=clientnonce" % login
    step = asked.start(header + bare)
    if not isinstance(step, Challenge):
        return step
    fields = dict(field.split(b"=", 1) for field in step.octets.split(b","))
    without = b"c=%b,r=%b" % (base64.b64encode(header if channel is None else channel), fields[b"r"])
    message = b",".join((bare, step.octets, without))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
    step = asked.respond(tamper(without + b",p=" + proof))
    if not isinstance(step, Challenge):
        return step
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
    assert step.octets == b"v=" + base64.b64encode(server)
    return asked.respond(b"")


@pytest.mark.rfc(5802, "5.1")
@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ({}, Success("user", "user")),
        ({"header": b"y,,"}, Success("user", "user")),
        ({"header": b"n,a=user,"}, Success("user", "user")),
        ({"header": b"n,a=tim,"}, FailureCode.FORBIDDEN),
        ({"header": b"p=tls-unique,,"}, FailureCode.MALFORMED),
        ({"channel": b"y,,"}, FailureCode.MALFORMED),
        ({"tamper": lambda final: final.replace(b"r=clientnonce", b"r=othernonce!")}, FailureCode.MALFORMED),
        ({"tamper": lambda final: final[:-4]}, FailureCode.CREDENTIALS),
        ({"tamper": lambda final: b"garbage"}, FailureCode.MALFORMED),
    ],
)
def test_scram_repeats_header_and_nonce_and_proves_the_password(how, outcome):
    step = scram_client(begin("SCRAM-SHA-256"), b"user", b"pencil", **how)
    assert step == outcome or (isinstance(step, Failure) and step.code == outcome)


@pytest.mark.rfc(5802, "9")
def test_scram_asks_an_unknown_login_with_the_same_salt_each_time_and_refuses_it_at_the_end():
    first, second = begin("SCRAM-SHA-256", nonce=lambda: "s"), begin("SCRAM-SHA-256", nonce=lambda: "s")
    hello = b"n,,n=nobody,r=c"
    assert first.start(hello) == second.start(hello)
    assert scram_client(begin("SCRAM-SHA-256"), b"nobody", b"x").code == FailureCode.CREDENTIALS


@pytest.mark.rfc(5802, "5.1")
def test_scram_names_escape_comma_and_equals_sign():
    odd = Credentials(specs={"a,b=c": AccountSpec("secret")})
    assert scram_client(begin("SCRAM-SHA-256", odd), b"a=2Cb=3Dc", b"secret") == Success("a,b=c", "a,b=c")
    assert begin("SCRAM-SHA-256", odd).start(b"n,,n=a=b,r=c").code == FailureCode.MALFORMED


@pytest.mark.rfc(7628, "4.1")
def test_oauthbearer_takes_the_token_as_the_password():
    token = base64.b64encode(b"pencil").decode().rstrip("=")
    credentials = Credentials(any_account=False, specs={"user@example.com": AccountSpec(token)})
    text = f"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {token}\x01\x01"
    assert begin("OAUTHBEARER", credentials).start(text.encode()) == Success("user@example.com", "user@example.com")


@pytest.mark.rfc(7628, "3.2.3")
def test_oauthbearer_says_why_and_fails_after_the_client_s_dummy_response():
    asked = begin("OAUTHBEARER")
    assert asked.start(b"n,a=user,\x01auth=Bearer bad\x01\x01") == Challenge(
        b'{"status":"invalid_token","scope":"mail"}'
    )
    assert asked.respond(b"\x01").code == FailureCode.CREDENTIALS


@pytest.mark.parametrize(
    "text", [b"", b"n,,", b"n,a=user,\x01\x01", b"x\x01auth=Bearer t\x01\x01", b"n,,\x01auth=Bearer t\x01\x01", b"\xff"]
)
def test_oauthbearer_refuses_what_names_no_account_or_token(text):
    assert begin("OAUTHBEARER").start(text).code == FailureCode.MALFORMED


def test_xoauth2_takes_a_token_and_fails_after_the_error_was_acknowledged():
    assert begin("XOAUTH2").start(b"user=user\x01auth=Bearer pencil\x01\x01") == Success("user", "user")
    asked = begin("XOAUTH2")
    assert isinstance(asked.start(b"user=user\x01auth=Bearer bad\x01\x01"), Challenge)
    assert asked.respond(b"").code == FailureCode.CREDENTIALS


def test_an_unknown_mechanism_is_none():
    assert exchange("GSSAPI", KNOWN) is None


def test_mechanisms_that_need_a_password_are_offered_only_where_accounts_have_one():
    assert mechanisms(ANY, tls=False) == ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"]
    assert mechanisms(KNOWN, tls=True) == list(MECHANISMS)
    assert mechanisms(KNOWN, tls=False, clear=False) == ["SCRAM-SHA-256", "CRAM-MD5"]


@pytest.mark.rfc(4013, "3")
@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", None),
        ("\u06271", None),
    ],
)
def test_saslprep_agrees_with_the_rfc_s_examples(text, prepared):
    assert saslprep(text) == prepared


@given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.booleans())
def test_garbage_is_refused_or_accepted_and_raises_nothing(mechanism, said, initial):
    asked = begin(mechanism)
    step = asked.start(said[0] if initial else None)
    for octets in said:
        if not isinstance(step, Challenge):
            break
        step = asked.respond(octets)
    assert isinstance(step, Challenge | Success | Failure)
