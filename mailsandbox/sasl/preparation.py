"""SASLprep (RFC 4013): two spellings of one password compare equal, and some characters are refused."""

import stringprep
import unicodedata


def saslprep(text: str) -> str | None:
    """The prepared string, None where it holds a prohibited character (unassigned ones are let through).

    RFC 4013 §2.5 allows unassigned code points in queries: an emoji newer than Unicode 3.2 is a fine password.
    """
    if text.isascii():
        return text if text.isprintable() else None
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )  # RFC 4013 §2.1
    prepared = unicodedata.normalize("NFKC", mapped)  # RFC 4013 §2.2
    if any(_prohibited(char) for char in prepared):
        return None
    return prepared if _bidirectional(prepared) else None


def _prohibited(char: str) -> bool:
    # RFC 4013 §2.3
    return (
        stringprep.in_table_c12(char)
        or stringprep.in_table_c21_c22(char)
        or stringprep.in_table_c3(char)
        or stringprep.in_table_c4(char)
        or stringprep.in_table_c5(char)
        or stringprep.in_table_c6(char)
        or stringprep.in_table_c7(char)
        or stringprep.in_table_c8(char)
        or stringprep.in_table_c9(char)
    )


def _bidirectional(text: str) -> bool:
    # RFC 3454 §6: right-to-left text begins and ends right-to-left and holds no left-to-right character.
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    return (
        not any(stringprep.in_table_d2(char) for char in text)
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
