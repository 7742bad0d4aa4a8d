"""The native HTTP interface: reads, deletes, sends, watches; and the levers of a test (clock, faults, queue, reset)."""

from mailsandbox.access.http.context import HttpContext, QueueView, Submission
from mailsandbox.access.http.server import HttpServer

__all__ = ["HttpContext", "HttpServer", "QueueView", "Submission"]
