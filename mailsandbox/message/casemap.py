"""How texts are compared without case: the one function that stored search texts and searched words both pass through.

RFC 5051 §2 (i;unicode-casemap) by way of Unicode's full case folding, then compatibility decomposition; so "STRASSE"
finds "Straße" too. Invariant: casemap(casemap(x)) == casemap(x).
"""

import unicodedata


def casemap(text: str) -> str:
    """`text` in the form in which equal texts are equal."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
