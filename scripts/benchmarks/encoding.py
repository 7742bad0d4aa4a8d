"""Both gates' speed: classifying clean mail, converting 8-bit text and binary; the standard library beside it."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from email import message_from_bytes
from email.generator import BytesGenerator
from email.policy import SMTP
from io import BytesIO

from mailsandbox.encoding import ReceiveMode, RelayPolicy, judge_received, needs, prepare
from mailsandbox.message.envelope import Envelope, Recipient
from mailsandbox.message.spans import scan
from mailsandbox.smtp.extensions import Offers

SIZE = 5_000_000
GOALS = {"classify": 500.0, "convert": 30.0}  # MB/s
ENVELOPE = Envelope("a@alpha.test", (Recipient("b@beta.test"),))
POLICY = RelayPolicy(host="alpha.test", queue_id="1")
MIME = b"From: a@alpha.test\r\nTo: b@beta.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def messages() -> dict[str, bytes]:
    """Name to message, each of about 5 MB but the last; nothing is promised of hostile ones."""
    clean = b"The quick brown fox jumps over the lazy dog, 0123456789 times in all.\r\n"
    german = "Der Frühling läßt sein blaues Band wieder flattern durch die Lüfte dort.\r\n".encode()
    russian = "Съешь же ещё этих мягких французских булок, да выпей чаю.\r\n".encode()
    binary = bytes(range(256)) * (SIZE // 256)
    text = MIME + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    part = b"--b\r\nContent-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n"
    mixed = MIME + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    return {
        "clean text": MIME + b"\r\n" + clean * (SIZE // len(clean)),
        "clean multipart with base64": mixed
        + part % (b"text/plain", b"7bit", clean)
        + part % (b"image/png", b"base64", (b"A" * 76 + b"\r\n") * (SIZE // 78))
        + b"--b--\r\n",
        "8-bit German text": text + german * (SIZE // len(german)),
        "8-bit Russian text": text + russian * (SIZE // len(russian)),
        "binary image": MIME + b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + binary,
        "hostile: dashes": mixed + b"--\r\n" * (SIZE // 4),
        "hostile: empty parts": mixed + b"--b\r\n" * (SIZE // 5),
        "hostile: fields": b"a:\r\n" * (SIZE // 4),
        "hostile: raw quoted-printable": text.replace(b"8bit", b"quoted-printable") + b"=\xe9=C" * (SIZE // 4),
        "clean text, 1 KB": MIME + b"\r\n" + clean * 13,
    }


def standard_library(octets: bytes) -> bytes:
    """The same job by the email package: parsed, and written for a 7-bit transport."""
    out = BytesIO()
    BytesGenerator(out, policy=SMTP.clone(cte_type="7bit")).flatten(message_from_bytes(octets, policy=SMTP))
    return out.getvalue()


def work(name: str, octets: bytes) -> dict[str, Callable[[], object]]:
    """What is timed for one message."""
    jobs: dict[str, Callable[[], object]] = {
        "classify": lambda: needs(octets),
        "receive gate": lambda: judge_received(
            octets,
            mode=ReceiveMode.LENIENT,
            declared_body="8BITMIME",
            smtputf8=False,
            offers=Offers.parse(["8BITMIME"]),
            via_bdat=False,
        ),
        "scan": lambda: scan(octets),
        "convert": lambda: prepare(octets, offers=Offers(), envelope=ENVELOPE, policy=POLICY),
    }
    if not name.startswith("hostile"):
        jobs["email package"] = lambda: standard_library(octets)
    return jobs


def seconds(job: Callable[[], object], *, budget: float) -> float | None:
    """The best time of one call within the budget; None where it fails."""
    best = float("inf")
    ends = time.perf_counter() + budget
    while best == float("inf") or time.perf_counter() < ends:
        began = time.perf_counter()
        try:
            job()
        except Exception:  # the email package raises what it likes on mail as it is
            return None
        best = min(best, time.perf_counter() - began)
    return best


def main(argv: Sequence[str]) -> int:
    """Print the table, or JSON. Exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--budget", type=float, default=0.5, metavar="SECONDS", help="for each figure")
    asked = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rows = []
    for name, octets in messages().items():
        times = {job: seconds(call, budget=asked.budget) for job, call in work(name, octets).items()}
        rates = {job: None if spent is None else len(octets) / spent / 1e6 for job, spent in times.items()}
        rows.append({"message": name, "octets": len(octets), "seconds": times, "megabytes_per_second": rates})
    large = [row for row in rows if row["octets"] > 1_000_000]
    missed = [
        f"{row['message']}: {goal}"
        for row in large
        for goal in (("classify",) if row["message"].startswith("clean") else ("convert",))
        if not row["message"].startswith("hostile") and row["megabytes_per_second"][goal] < GOALS[goal]
    ]
    if asked.json:
        print(json.dumps({"goals": GOALS, "missed": missed, "rows": rows}))
    else:
        jobs = list(rows[0]["seconds"])
        print(f"{'MB/s':<30}" + "".join(f"{job:>15}" for job in jobs))
        for row in rows:
            rates = (row["megabytes_per_second"].get(job) for job in jobs)
            print(f"{row['message']:<30}" + "".join(f"{'-':>15}" if r is None else f"{r:>15,.0f}" for r in rates))
        print(f"goals: classify clean mail {GOALS['classify']:.0f}, convert {GOALS['convert']:.0f} MB/s: ", end="")
        print("missed: " + ", ".join(missed) if missed else "met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
