"""How long `render` takes: what a delivery pays so that FETCH answers from stored bytes."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from mailsandbox.message.compose import Attached, BodyEncoding, compose
from mailsandbox.message.rendering import render


def messages() -> dict[str, bytes]:
    """Name to message, small to large."""
    pieces = {
        "sender": "Alice Example <alice@alpha.test>",
        "to": ["Bob <bob@beta.test>"],
        "message_id": "<1@alpha.test>",
        "date": 1795230262.0,
        "subject": "Été à la plage",
    }
    line = "The quick brown fox jumps over the lazy dog.\n"
    png = bytes(range(256)) * 4096
    return {
        "plain, 1 KB": compose(**pieces, text=line * 14),
        "text, html and png, 1.4 MB": compose(
            **pieces, text="é" + line * 10, html=line, attachments=[Attached("a.png", "", png)]
        ),
        "quoted-printable, 100 KB": compose(**pieces, text="é" + line * 2200, body_encoding=BodyEncoding.SEVEN_BIT),
        "plain, 5 MB": compose(**pieces, text=line * 110_000),
        "200 parts": compose(
            **pieces, text=line, attachments=[Attached(f"{n}.txt", "", b"x" * 500) for n in range(200)]
        ),
    }


def main(argv: Sequence[str]) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    rows = []
    for name, octets in messages().items():
        render(octets)
        best = float("inf")
        for _ in range(5):
            rounds, began = 0, time.perf_counter()
            while (spent := time.perf_counter() - began) < 0.05:
                render(octets)
                rounds += 1
            best = min(best, spent / rounds)
        rows.append({"message": name, "octets": len(octets), "microseconds": round(best * 1e6, 1)})
    if asked.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['message']:<30}{row['octets']:>10} octets {row['microseconds']:>10.1f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
