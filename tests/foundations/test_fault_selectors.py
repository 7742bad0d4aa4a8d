"""Faults that could never strike are refused: a typing error would look like a server without a fault."""

import pytest

from mailsandbox.errors import ConfigError
from mailsandbox.faults import Delay, Drop, Fault, Respond, action_of


@pytest.mark.parametrize(
    ("selectors", "said"),
    [
        ({"protocol": "smpt"}, "protocol 'smpt' is not one of smtp, relay, pop3, imap, http"),
        ({"protocol": "smtp", "stage": "rctp"}, "stage 'rctp' of smtp is not one of"),
        ({"protocol": "relay", "stage": "quit"}, "stage 'quit' of relay is not one of"),
        ({"account": "("}, "is not a regular expression"),
    ],
)
def test_a_selector_that_nothing_fits_is_refused(selectors, said):
    with pytest.raises(ConfigError) as refused:
        Fault(Drop(), **selectors)
    assert said in str(refused.value)


def test_any_stage_may_be_named_where_the_protocol_is_open():
    Fault(Drop(), protocol="imap", stage="xyzzy")
    Fault(Drop(), stage="rcpt")
    Fault(Drop(), protocol="smtp", stage="RCPT")


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({"reply": "451 4.7.1 come back later"}, Respond(451, "come back later", "4.7.1")),
        ({"reply": "421"}, Respond(421, "")),
        ({"drop": True}, Drop()),
        ({"reset": True}, Drop(reset=True)),
        ({"delay": 0.0}, Delay(0.0)),
    ],
)
def test_an_action_is_one_of_four(given, action):
    assert action_of(**given) == action


@pytest.mark.parametrize(
    "given",
    [{}, {"drop": True, "reset": True}, {"drop": True, "delay": 1.0}, {"reply": "999 x"}, {"reply": "later"}],
)
def test_no_action_or_two_or_a_reply_that_is_none_is_refused(given):
    with pytest.raises(ConfigError):
        action_of(**given)
