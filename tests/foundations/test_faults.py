"""Scripted faults: which fits, how often, and what is counted."""

import pytest

from mailsandbox.errors import ConfigError
from mailsandbox.faults import Drop, Fault, Faults, Respond

LATER = Respond(451, "later", "4.7.1")


@pytest.mark.parametrize(
    ("selectors", "fits"),
    [
        ({}, True),
        ({"protocol": "smtp"}, True),
        ({"protocol": "imap"}, False),
        ({"site": "beta", "stage": "RCPT"}, True),
        ({"stage": "mail"}, False),
        ({"account": r"^BOB@"}, True),
        ({"account": r"^carol@"}, False),
        ({"text": "quota"}, False),
    ],
)
def test_a_fault_fits_where_every_selector_given_fits(selectors, fits):
    faults = Faults()
    fault = faults.add(Fault(LATER, **selectors))
    found = faults.match("smtp", site="beta", stage="rcpt", account="bob@beta.test", text="TO:<bob@beta.test>")
    assert (found is LATER, fault.hits) == (fits, int(fits))


def test_a_fault_lets_the_first_pass_and_is_used_up():
    faults = Faults()
    fault = faults.add(Fault(LATER, protocol="smtp", skip=1, times=2))
    assert [faults.match("smtp") for _ in range(5)] == [None, LATER, LATER, None, None]
    assert fault.hits == 2


def test_the_first_that_fits_wins_and_the_next_takes_over():
    faults = Faults()
    faults.add(Fault(LATER, times=1))
    faults.add(Fault(Drop(), times=1))
    assert [faults.match("pop3") for _ in range(3)] == [LATER, Drop(), None]


def test_what_is_removed_no_longer_fits():
    faults = Faults()
    fault = faults.add(Fault(LATER))
    assert faults.remove(fault.id)
    assert not faults.remove(fault.id)
    assert faults.match("smtp") is None


def test_a_selector_that_is_no_expression_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"account = '\['"):
        Fault(LATER, account="[")
