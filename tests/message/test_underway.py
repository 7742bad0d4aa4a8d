"""Messages that are being sent are known to who receives them, as long as they are, and only if they are the same."""

from mailsandbox.message.underway import LARGE, Known, Underway

OCTETS = b"Subject: x\r\n\r\n" + b"x" * LARGE
TRACE = b"Received: by mx.alpha.test\r\n"


def known(octets: bytes = OCTETS) -> Known:
    return Known(TRACE, octets, b"digest", "whole", True)


def test_what_is_being_sent_is_found_behind_whatever_goes_before_it_until_it_is_sent():
    underway, sent = Underway(), known()
    with underway.sending(sent):
        assert underway.find(TRACE + OCTETS, len(TRACE)) is sent
        assert underway.find(b"Other: trace\r\n" + OCTETS, 14) is sent
        assert underway.find(OCTETS, 0) is sent
    assert underway.find(TRACE + OCTETS, len(TRACE)) is None


def test_one_octet_that_differs_makes_it_another_message():
    underway = Underway()
    with underway.sending(known()):
        assert underway.find(TRACE + OCTETS[:-1] + b"y", len(TRACE)) is None
        assert underway.find(TRACE + b"s" + OCTETS[1:], len(TRACE)) is None
        assert underway.find(TRACE + OCTETS + b"x", len(TRACE)) is None
        assert underway.find(TRACE + OCTETS, len(TRACE) + 1) is None


def test_of_two_that_are_the_same_the_second_is_known_after_the_first_is_sent():
    underway, first, second = Underway(), known(), known(bytes(bytearray(OCTETS)))
    with underway.sending(second):
        with underway.sending(first):
            assert underway.find(OCTETS, 0) in (first, second)
        assert underway.find(OCTETS, 0) is second


def test_small_messages_are_not_remembered():
    underway = Underway()
    with underway.sending(known(b"x" * (LARGE - 1))):
        assert underway.find(b"x" * (LARGE - 1), 0) is None


def test_what_is_not_in_one_piece_yet_is_found_by_its_size_and_by_who_has_the_pieces():
    underway, whole = Underway(), TRACE + OCTETS
    with underway.sending(Known(TRACE, OCTETS, b"digest", "whole", True, whole)), underway.sending(known()):
        assert underway.whole(len(whole), lambda octets: octets == whole) is whole
        assert underway.whole(len(whole), lambda octets: False) is None
        assert underway.whole(len(whole) - 1, lambda octets: True) is None
    assert underway.whole(len(whole), lambda octets: True) is None
