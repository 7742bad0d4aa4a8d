"""The delivery models by name, in the order of the demonstration's table."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mailsandbox.errors import ConfigError
from mailsandbox.lab.counting import Counters
from mailsandbox.lab.models.http_poll import HttpPollWatcher, LongPollWatcher
from mailsandbox.lab.models.idle import IdleWatcher
from mailsandbox.lab.models.imap_poll import ImapPollWatcher
from mailsandbox.lab.models.pop3 import Pop3Watcher
from mailsandbox.lab.models.smtp import SmtpWatcher
from mailsandbox.lab.models.sse import SseWatcher, StreamWatcher
from mailsandbox.lab.models.websocket import WebSocketWatcher
from mailsandbox.lab.watcher import Model, Notice, Target, Watcher

_WATCHERS: Final[tuple[type[Watcher], ...]] = (
    SmtpWatcher,
    Pop3Watcher,
    ImapPollWatcher,
    IdleWatcher,
    HttpPollWatcher,
    LongPollWatcher,
    SseWatcher,
    WebSocketWatcher,
    StreamWatcher,
)
MODELS: Final[Mapping[str, Model]] = MappingProxyType({each.model.name: each.model for each in _WATCHERS})

POLLERS: Final = ("pop3", "imap-poll", "http-poll")  # those that ask at intervals


def watcher(
    name: str,
    services: Mapping[str, str],
    account: str,
    *,
    password: str = "any",  # any password is right where none is configured
    interval: float = 1.0,
    listen: tuple[str, int] = ("127.0.0.1", 0),
) -> Watcher:
    """A reader of `account` by the model `name`. `services` as in the ready file: {"imap": "127.0.0.1:1143"}.

    `listen` is for SMTP, where the reader is the server.

    Raises ConfigError for a model or service that does not exist.
    """
    target = Target(services, account, password, interval, listen=listen)
    for each in _WATCHERS:
        if each.model.name == name:
            try:
                return each(target)
            except KeyError as error:
                raise ConfigError(f"--via {name}: the daemon has no service {error}") from None
    raise ConfigError(f"{name!r} is no delivery model; there are {', '.join(MODELS)}")


__all__ = ["MODELS", "POLLERS", "Counters", "Model", "Notice", "Target", "Watcher", "watcher"]
