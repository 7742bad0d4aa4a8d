"""Twisted protocols on the running asyncio (or uvloop) loop, without Twisted's reactor.

`listen` accepts connections and gives each a Twisted protocol, whose `transport` is a `Connection`. A user's own
Twisted application can run its reactor in the same process: `twisted.internet.reactor` is never imported here.
"""

from mailsandbox.access.transport.connection import Connection, shown
from mailsandbox.access.transport.layers import DeflateLayer, TlsFailed, TlsLayer
from mailsandbox.access.transport.listener import Listener, Source, listen

__all__ = ["Connection", "DeflateLayer", "Listener", "Source", "TlsFailed", "TlsLayer", "listen", "shown"]
