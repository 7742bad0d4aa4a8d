"""What trusted peers may say about the client behind them: XCLIENT, and the PROXY header; and who is trusted.

XCLIENT is Postfix's extension (its XCLIENT_README is the specification), the PROXY header HAProxy's
(proxy-protocol.txt), versions 1 and 2, read by aiosmtpd's parser.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from aiosmtpd.proxy_protocol import ProxyData

from mailsandbox.smtp.replies import Reply, reply
from mailsandbox.smtp.xtext import decode_xtext
from mailsandbox.submit.transaction import Client

XCLIENT_ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
_UNKNOWN: Final = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


class Networks:
    """Addresses by network; a UNIX socket's peer ("") is trusted where "unix" is listed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._unix = False
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for network in networks:
            if network == "unix":
                self._unix = True
            else:
                self._networks.append(ipaddress.ip_network(network, strict=False))

    def __contains__(self, address: str) -> bool:
        if not address:
            return self._unix
        if not self._networks:
            return False
        host = ipaddress.ip_address(address)
        return any(host in network for network in self._networks)


def proxied_client(header: ProxyData) -> tuple[str, int] | None:
    """Address and port behind the proxy; None where the header names none and the peer itself counts.

    That is version 1 with UNKNOWN, version 2 with LOCAL (the proxy's own health checks), and UNIX sockets.
    """
    if header.command == 0 or not isinstance(header.src_addr, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return None
    return str(header.src_addr), header.src_port or 0


def apply_xclient(argument: str, client: Client) -> Reply | None:
    """Make `client` who XCLIENT says it is, known facts kept where it is silent; or the refusing reply."""
    given: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in XCLIENT_ATTRIBUTES:
            return reply(501, "5.5.4", f"XCLIENT takes attributes of {' '.join(XCLIENT_ATTRIBUTES)}")
        try:
            given[name.upper()] = "" if value.upper() in _UNKNOWN else decode_xtext(value)
        except ValueError:
            return reply(501, "5.5.4", f"XCLIENT {name.upper()} is not xtext (RFC 3461 §4)")
    if not all(value.isprintable() for value in given.values()):
        # They go into Received fields, replies and the session's record.
        return reply(501, "5.5.4", "XCLIENT values have no control characters")
    if not given:
        return reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
    address = client.address
    if "ADDR" in given:
        text = given["ADDR"]
        text = text[5:] if text.upper().startswith("IPV6:") else text
        try:
            # [UNAVAILABLE] leaves no address to go by: shown as unknown, never as a UNIX socket's peer.
            address = str(ipaddress.ip_address(text)) if text else "0.0.0.0"  # not a binding
        except ValueError:
            return reply(501, "5.5.4", "XCLIENT ADDR is no IP address")
    port = given.get("PORT", str(client.port)) or "0"
    if not (port.isdecimal() and int(port) < 65_536):
        return reply(501, "5.5.4", "XCLIENT PORT is no port number")
    client.address, client.port = address, int(port)
    client.peer = (client.address, client.port)
    client.host_name = given.get("HELO") or None
    client.extended_smtp = given.get("PROTO", "ESMTP").upper() != "SMTP"
    client.name = given.get("NAME", client.name)
    if "LOGIN" in given:
        client.login = given["LOGIN"]
        client.authenticated = bool(client.login)
    return None
