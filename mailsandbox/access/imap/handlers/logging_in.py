"""LOGIN and AUTHENTICATE (RFC 9051 §6.2.2, §6.2.3; RFC 4959 SASL-IR)."""

import base64
from typing import Final

from mailsandbox.access.imap.framing import Refused
from mailsandbox.access.imap.grammar.connection import Authenticate, Login, decode_base64
from mailsandbox.access.imap.input import Ended, Poked
from mailsandbox.access.imap.responses import GrammarError, Result, bad, no, ok, status_line
from mailsandbox.access.imap.session import Session, State
from mailsandbox.access.login import Admitted, Denied
from mailsandbox.sasl import Challenge, FailureCode, Step, exchange

_CLEAR: Final = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})  # mechanisms that show the password or token


async def login(session: Session, command: Login) -> Result:
    if session.login_disabled:
        return no("Logins in clear are off: use STARTTLS", "PRIVACYREQUIRED")
    if session.context.tls is not None and not session.rim.tls:
        session.report("login-in-clear")
    try:
        user, password = command.user.decode("utf-8"), command.password.decode("utf-8")
    except UnicodeDecodeError:
        return no("Login is not UTF-8", "AUTHENTICATIONFAILED")
    return _end(session, await session.guard.password(user, password))


async def authenticate(session: Session, command: Authenticate) -> Result:
    if session.login_disabled:
        return no("Logins in clear are off: use STARTTLS", "PRIVACYREQUIRED")
    if command.initial is not None and "SASL-IR" not in session.on:
        return bad("An initial response is not offered")
    if command.mechanism in _CLEAR and session.context.tls is not None and not session.rim.tls:
        session.report("login-in-clear", command.mechanism)
    running = None
    if command.mechanism in session.mechanisms():
        running = exchange(command.mechanism, session.context.credentials, hostname=session.context.hostname)
    if running is None:
        return no("Unknown mechanism", "CANNOT")
    step: Step = running.start(command.initial)
    while isinstance(step, Challenge):
        # RFC 9051 §6.2.2: "+" SP base64; an empty challenge is "+ ".
        session.send(b"+ %b\r\n" % base64.b64encode(step.octets))
        session.rim.flush()
        response = await _response(session)
        if isinstance(response, Result):
            return response
        step = running.respond(response)
    return _end(session, await session.guard.sasl(step))


async def _response(session: Session) -> bytes | Result:
    while True:
        match await session.input.line():
            case b"*":
                return bad("Authentication cancelled")
            case bytes() as line:
                session.record.client("***")
                try:
                    return b"" if line == b"=" else decode_base64(line)
                except GrammarError:
                    return bad("Invalid base64")
            case Refused(_, reason):
                return bad(reason)
            case Poked():
                continue
            case Ended():
                session.move(State.LOGOUT)
                return bad("Connection ended")


def _end(session: Session, outcome: Admitted | Denied) -> Result:
    match outcome:
        case Admitted(account):
            session.logged_in(account)
            # RFC 9051 §7.1: CAPABILITY in the answer saves a round trip, and may differ from the greeting's.
            return ok("Logged in", f"CAPABILITY {session.capability_text()}")
        case Denied(reason, code, final):
            session.record.note(f"login refused: {reason}")
            result = bad(reason) if code is FailureCode.MALFORMED else no(reason, "AUTHENTICATIONFAILED")
            if final:
                for octets in (result.octets(session.tag), status_line("BYE", "Too many failed logins")):
                    session.record.server(octets[:-2].decode("utf-8", "replace"))
                    session.send(octets)
                session.record.close("too many failed logins")
                session.move(State.LOGOUT)
            return result
