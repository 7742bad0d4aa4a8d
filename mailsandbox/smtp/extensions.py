"""What an SMTP server offers after EHLO (RFC 5321 §4.1.1.1): keywords with their parameters, as one value."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Offers:
    """The extensions of one server. Keywords are upper case; parameters are kept as written."""

    keywords: dict[str, str] = field(default_factory=dict)
    size: int | None = field(init=False, compare=False, repr=False)  # see below: it is asked for with every message

    def __post_init__(self) -> None:
        """`size`: the largest message in octets (RFC 1870 §4); None where no limit is announced (absent, or 0)."""
        words = self.parameters("SIZE")
        object.__setattr__(self, "size", int(words[0]) or None if words and words[0].isdecimal() else None)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "Offers":
        """From EHLO lines or configuration: `["PIPELINING", "SIZE 26214400"]`."""
        pairs = (line.strip().partition(" ") for line in lines if line.strip())
        return cls({keyword.upper(): parameters.strip() for keyword, _, parameters in pairs})

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    def parameters(self, keyword: str) -> list[str]:
        """The words after the keyword; empty where it is not offered."""
        return self.keywords.get(keyword, "").split()

    def limit(self, name: str) -> int | None:
        """What LIMITS announces under that name, as "RCPTMAX" (RFC 9422 §3); None where it announces nothing of use."""
        for word in self.parameters("LIMITS"):
            known, _, value = word.partition("=")
            if known.upper() == name and value.isdecimal() and len(value) <= 6:
                return int(value) or None
        return None
