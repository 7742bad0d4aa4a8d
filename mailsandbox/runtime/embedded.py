"""The sandbox inside the user's own process: `with Sandbox() as box` and `async with Sandbox() as box`.

Invariant: each one has its own event loop (or runs on the caller's), its own free ports, store, clock and certificate,
so several live at once, and nothing of it is left behind when the block ends.
"""

import contextlib
import dataclasses
from pathlib import Path
from types import TracebackType

from mailsandbox.config import load
from mailsandbox.runtime.box import AsyncBox
from mailsandbox.runtime.daemon import identity, new_event_loop
from mailsandbox.runtime.synchronous import BackgroundLoop, Box
from mailsandbox.sandbox import MailSystem
from mailsandbox.specs import SandboxSpec


class Sandbox:
    """Two mail servers, the relay between them and every way to read, on free ports and in memory.

    `config`: a TOML file, or a SandboxSpec; its ports are replaced by free ones unless `ephemeral` is False.
    `clock`: "system", or "manual" for one that stands still until `box.clock.advance(seconds)`.
    `data`: a directory that keeps everything. Raises ConfigError or StartError on entry.
    """

    def __init__(
        self,
        config: Path | str | SandboxSpec | None = None,
        *,
        clock: str = "",
        data: Path | str | None = None,
        ephemeral: bool = True,
    ) -> None:
        spec = config if isinstance(config, SandboxSpec) else load(Path(config) if config is not None else None)
        if clock not in ("", "system", "manual"):
            raise ValueError(f'clock={clock!r}: "system" or "manual"')
        if clock:
            spec = dataclasses.replace(spec, manual_clock=clock == "manual")
        if data is not None:
            spec = dataclasses.replace(spec, data=Path(data))
        self._spec = spec.ephemeral() if ephemeral else spec
        self._async_exit: contextlib.AsyncExitStack | None = None
        self._background: BackgroundLoop | None = None

    async def __aenter__(self) -> AsyncBox:
        if self._async_exit is not None:
            raise RuntimeError("this Sandbox is entered already; make another one")
        async with contextlib.AsyncExitStack() as stack:
            tls = identity(self._spec, stack)
            system = MailSystem(self._spec, tls=tls.context, trusted=tls.trusted())
            await system.start()
            stack.push_async_callback(system.aclose)
            self._async_exit = stack.pop_all()
        return AsyncBox(system, tls.authority)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._async_exit is not None:
            stack, self._async_exit = self._async_exit, None
            await stack.aclose()

    def __enter__(self) -> Box:
        if self._background is not None:
            raise RuntimeError("this Sandbox is entered already; make another one")
        background = BackgroundLoop(new_event_loop)
        try:
            box = background.run(self.__aenter__())
        except BaseException:
            background.close()
            raise
        self._background = background
        return Box(box, background)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._background is not None:
            background, self._background = self._background, None
            try:
                background.run(self.__aexit__(None, None, None))
            finally:
                background.close()
