"""Results that are kept for short values, and no others."""

from mailsandbox.message.remembered import MAX_OCTETS, MAX_VALUES, remembered


def test_a_short_value_is_parsed_once_and_a_long_one_each_time():
    parsed: list[bytes] = []

    @remembered
    def length(value: bytes) -> int:
        parsed.append(value)
        return len(value)

    short, long = b"x" * MAX_OCTETS, b"x" * (MAX_OCTETS + 1)
    assert [length(short), length(short), length(long), length(long)] == [MAX_OCTETS] * 2 + [MAX_OCTETS + 1] * 2
    assert parsed == [short, long, long]


def test_what_came_long_ago_is_parsed_again():
    parsed: list[bytes] = []
    note = remembered(parsed.append)
    for number in range(MAX_VALUES + 1):
        note(b"%d" % number)
    note(b"0")
    assert parsed.count(b"0") == 2
