"""A running daemon as the commands see it: found by its ready file or URL, asked over HTTP.

Invariant: whatever goes wrong is a click exception with the cause in one sentence: exit code 1 where there is no
daemon, no such thing, or a refusal.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from mailsandbox.cli.failures import NOT_DONE, WRONG_USE, Failure
from mailsandbox.cli.printing import clean
from mailsandbox.wording import cause_of

if TYPE_CHECKING:
    import httpx

DEFAULT_URL: Final = "http://127.0.0.1:8025"
# Where a daemon without any configuration listens.
DEFAULT_SERVICES: Final[Mapping[str, str]] = {
    "alpha.smtp": "127.0.0.1:1025",
    "alpha.submission": "127.0.0.1:1587",
    "alpha.submissions": "127.0.0.1:1465",
    "beta.smtp": "127.0.0.1:2025",
    "pop3": "127.0.0.1:1110",
    "pop3s": "127.0.0.1:1995",
    "imap": "127.0.0.1:1143",
    "imaps": "127.0.0.1:1993",
    "http": "127.0.0.1:8025",
}
Parameters = Sequence[tuple[str, str | int]]
_NO_ACCOUNT: Final = ": it comes into being with its first message or login"
LONG: Final = 300.0  # seconds without an octet, of work that takes long


class NoDaemon(Failure):
    """Nobody answers."""

    code = "no-daemon"


class NotThere(Failure):
    """The daemon has nothing of that name; it may have something of a like one."""

    def __init__(self, kind: str, name: str, known: Sequence[str], otherwise: str, *, of: str = "") -> None:
        import difflib

        self.code = f"no-such-{kind}"
        folded = {each.lower(): each for each in known}
        alike = 0.9 if "@" in name else 0.7  # addresses are alike in their domains already
        self.near = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, 3, alike)]
        hint = f"; there is {', '.join(map(clean, self.near))}" if self.near else ""
        whose = f" of {clean(of)}" if of else ""
        super().__init__(f"there is no {kind} {clean(name)}{whose}{hint or otherwise}")

    def facts(self) -> dict[str, Any]:  # Any: JSON
        """Those that are spelled like it."""
        return {"near": self.near}


class Refused(Failure):
    """The daemon answered, but not as hoped. `status` is HTTP's, `problem` the problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:  # Any: JSON
        self.status = status
        self.problem = problem
        super().__init__(clean(problem.get("detail") or problem.get("title") or f"HTTP status {status}"))
        slug = str(problem.get("type", "")).rpartition(":")[2]
        self.code = f"http-{status}" if slug in ("", "blank") else slug
        self.exit_code = WRONG_USE if self.code == "wrong-value" else NOT_DONE

    def facts(self) -> dict[str, Any]:  # Any: JSON
        """The problem document."""
        return {"problem": dict(self.problem)}


def default_ready_file() -> Path:
    """Where `serve` writes and every other command looks when nothing is said: in this user's own directory."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "mailsandbox" / "ready.json"
    return Path(tempfile.gettempdir()) / f"mailsandbox-{os.getuid()}" / "ready.json"


def own_ready_file() -> Path | None:
    """The default ready file if it is there and this user's own: in a shared directory anyone could have put one."""
    path = default_ready_file()
    try:
        mine = path.stat().st_uid == os.getuid()
    except OSError:
        return None
    return path if mine else None


class Daemon:
    """Where the daemon's services are, and its HTTP interface."""

    def __init__(self, url: str, services: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._services = services
        self._client: httpx.Client | None = None

    @property
    def services(self) -> Mapping[str, str]:
        """ "host:port" by name. Of a daemon that is known by its URL only: as it tells. Raises NoDaemon."""
        if self._services is None:
            self._services = {**self._asked_services(), "http": _authority(self.url)}
        return self._services

    def _asked_services(self) -> dict[str, str]:
        try:
            told = self.get("/v1/services")["services"]
            return {name: seen_from(self.url, place) for name, place in told.items()}
        except Refused as refused:
            why = refused.message
        except (ValueError, LookupError, TypeError, AttributeError):
            why = "its answer is no list of services"
        raise NoDaemon(f"{self.url} does not say where its services are ({why}): is it a mailsandbox of this version?")

    def service(self, name: str) -> tuple[str, int]:
        """Host and port of a service. Raises NoDaemon for one that is not there."""
        place = self.services.get(name)
        if place is None:
            known = ", ".join(sorted(self.services))
            raise NoDaemon(f"the daemon has no service {name!r}; it has {known}")
        if place.startswith("unix:"):
            raise NoDaemon(f"{name} is a UNIX socket, {place.removeprefix('unix:')}: name a service with a port")
        return split_place(place)

    def get(self, path: str, parameters: Parameters = (), *, timeout: float = 30.0) -> Any:  # Any: JSON
        """The JSON answer. Raises Refused, NoDaemon."""
        return self._json(self.request("GET", path, parameters, timeout=timeout))

    def post(
        self, path: str, body: Any = None, parameters: Parameters = (), *, timeout: float = 30.0
    ) -> Any:  # Any: JSON both
        """Post JSON; the JSON answer, None where there is none. Raises Refused, NoDaemon."""
        return self._json(self.request("POST", path, parameters, body=body, timeout=timeout))

    def delete(self, path: str, parameters: Parameters = ()) -> None:
        """Raises Refused, NoDaemon."""
        self.request("DELETE", path, parameters)

    def octets(self, path: str, parameters: Parameters = ()) -> bytes:
        """The answer's octets. Raises Refused, NoDaemon."""
        return self.request("GET", path, parameters).content

    def request(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        *,
        body: Any = None,  # Any: JSON
        timeout: float = 30.0,
    ) -> "httpx.Response":
        """Any request; answers from 400 up raise Refused."""
        with self._asked():
            response = self._connection().request(method, path, params=list(parameters), json=body, timeout=timeout)
        if response.status_code >= 400:
            raise Refused(response.status_code, _problem(response))
        return response

    def pieces(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        *,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[bytes]:
        """The answer as it comes, of long work; `content` is sent as it is made. Raises Refused, NoDaemon."""
        with self._asked():
            answer = self._connection().stream(
                method, path, params=list(parameters), content=content, headers=headers, timeout=LONG
            )
            with answer as response:
                if response.status_code >= 400:
                    response.read()
                    raise Refused(response.status_code, _problem(response))
                yield from response.iter_bytes()

    def long_work(
        self,
        path: str,
        told: Callable[[float, float], None],
        *,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:  # Any: JSON
        """Post, and hear how far it is; returns the answer. Raises Refused, NoDaemon."""
        rest = b""
        line: dict[str, Any] = {"done": 0}  # Any: JSON
        accept = {"Accept": "application/x-ndjson"}
        for piece in self.pieces("POST", path, content=content, headers={**(headers or {}), **accept}):
            *lines, rest = (rest + piece).split(b"\n")
            for octets in lines:
                line = json.loads(octets)
                if "done" in line:
                    told(line["done"], line["total"])
        if "done" in line:
            raise NoDaemon(f"{self.url} stopped before it was done")
        if "problem" in line:
            raise Refused(line["problem"]["status"], line["problem"])
        return line

    def require_account(self, address: str, mailbox: str = "") -> None:
        """Raises NotThere where there is no such account, or no such mailbox of it; those spelled like it are named."""
        known = [each["address"] for each in self.get("/v1/accounts")["accounts"]]
        if address.strip().lower() not in known:
            raise NotThere("account", address, known, _NO_ACCOUNT)
        if mailbox:
            path = f"/v1/accounts/{quote(address.strip().lower(), safe='')}/mailboxes"
            names = [each["name"] for each in self.get(path)["mailboxes"]]
            if mailbox not in names:
                raise NotThere("mailbox", mailbox, names, f"; it has {_some(names)}", of=address.strip().lower())

    def mailbox_of_nobody(self, mailbox: str) -> NotThere:
        """What is to be said of a mailbox that no account has."""
        addresses = [each["address"] for each in self.get("/v1/accounts")["accounts"]]
        places = [f"/v1/accounts/{quote(address, safe='')}/mailboxes" for address in addresses]
        names = list(dict.fromkeys(each["name"] for path in places for each in self.get(path)["mailboxes"]))
        return NotThere("mailbox", mailbox, names, f"; there is {_some(names)}" if names else "", of="any account")

    def _connection(self) -> "httpx.Client":
        import httpx

        if not self.url:
            raise NoDaemon("the daemon has no HTTP interface, which this needs: give access.http a port")
        if self._client is None:
            # The daemon is on this machine or named by the user: proxies from the environment are not meant for it.
            self._client = httpx.Client(base_url=self.url, trust_env=False, follow_redirects=True)
        return self._client

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise NoDaemon(f"no answer from {self.url} in time") from None
        except httpx.RemoteProtocolError as error:
            raise NoDaemon(f"{self.url} broke off its answer ({clean(error)})") from None
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise NoDaemon(
                f"no daemon answers at {self.url} ({_reason(error)});"
                " start one with `mailsandbox serve`, or name it with --url or --ready-file"
            ) from None

    @staticmethod
    def _json(response: "httpx.Response") -> Any:  # Any: JSON
        return response.json() if response.content else None

    def close(self) -> None:
        """Close kept connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _some(names: Sequence[str], number: int = 5) -> str:
    more = f" and {len(names) - number} more" if len(names) > number else ""
    return f"{', '.join(map(clean, names[:number]))}{more}"


@contextlib.contextmanager
def daemon(ready_file: Path | None, url: str | None) -> Iterator[Daemon]:
    """The daemon that the options, the environment, or the default place name."""
    found = find_daemon(ready_file, url)
    try:
        yield found
    finally:
        found.close()


def find_daemon(ready_file: Path | None, url: str | None) -> Daemon:
    """`--url` first, then `--ready-file`, then the default ready file, then the default ports. Asks nobody yet."""
    if url:
        if "://" in url and not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r} is no HTTP interface: write http://HOST:PORT", param_hint="--url")
        return Daemon(url if "://" in url else f"http://{url}")
    path = ready_file or own_ready_file()
    if path is None:
        return Daemon(DEFAULT_URL, DEFAULT_SERVICES)
    from mailsandbox.errors import MailsandboxError
    from mailsandbox.runtime.ready_file import read_ready_file

    try:
        ready = read_ready_file(path)
    except MailsandboxError as error:
        raise NoDaemon(str(error)) from None
    if ready_file is None and not is_running(ready.pid):
        return Daemon(DEFAULT_URL, DEFAULT_SERVICES)  # left behind by a daemon that was killed
    http = ready.services.get("http")
    return Daemon(f"http://{http}" if http else "", ready.services)


def seen_from(url: str, place: str) -> str:
    """A "host:port" that the daemon of `url` names, as it is reached from here.

    Its loopback is ours only where the URL leads to ours, and an address that stands for all of them is none to go to.
    """
    if place.startswith("unix:"):
        return place
    host, _, port = place.rpartition(":")
    asked = _authority(url).rpartition(":")[0]
    everywhere = host in ("0.0.0.0", "[::]")  # compared with, not listened on
    return f"{asked}:{port}" if everywhere or (_is_loopback(host) and not _is_loopback(asked)) else place


def _authority(url: str) -> str:
    """ "host:port" of a URL, with the port that its scheme means (RFC 9110 §4.2)."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError as error:
        raise click.BadParameter(f"{url!r}: {error}", param_hint="--url") from None
    return f"{f'[{host}]' if ':' in host else host}:{port or (443 if parts.scheme == 'https' else 80)}"


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]") or host.startswith("127.")  # RFC 1122 §3.2.1.3 (g), RFC 4291 §2.5.3


def is_running(pid: int) -> bool:
    """Whether a process of that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def split_place(place: str) -> tuple[str, int]:
    """ "host:port" as a pair. Raises click.BadParameter."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{place!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _reason(error: Exception) -> str:
    """ "Connection refused", without the number that only programmers know."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__cause__ or inner.__context__  # httpcore's hides its cause
    if inner is not None:
        return f"TLS failed: {cause_of(inner)}" if _is_of_tls(inner) else cause_of(inner)
    return re.sub(r"^\[Errno -?\d+\] ", "", clean(error)) or type(error).__name__


def _is_of_tls(error: OSError) -> bool:
    import ssl

    return isinstance(error, ssl.SSLError)


def _problem(response: "httpx.Response") -> Mapping[str, Any]:  # Any: JSON
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    return {"title": f"{response.status_code} {response.reason_phrase}"}
