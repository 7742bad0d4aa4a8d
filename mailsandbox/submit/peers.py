"""What trusted peers may say about the client behind them: XCLIENT, and lists of networks that are trusted.

XCLIENT is Postfix's extension (its XCLIENT_README is the specification). The PROXY header is read by `connection`.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

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


def apply_xclient(argument: str, client: Client) -> Client | Reply:
    """The client that XCLIENT describes, known facts kept where it is silent; or the refusing reply."""
    given: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in XCLIENT_ATTRIBUTES:
            return reply(501, "5.5.4", f"XCLIENT takes attributes of {' '.join(XCLIENT_ATTRIBUTES)}")
        try:
            decoded = "" if value.upper() in _UNKNOWN else decode_xtext(value)
        except ValueError:
            return reply(501, "5.5.4", f"XCLIENT {name.upper()} is not xtext (RFC 3461 §4)")
        given[name.upper()] = decoded
    if not given:
        return reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
    address, port = client.address, client.port
    if "ADDR" in given:
        # [UNAVAILABLE] leaves no address to go by: it is shown as unknown, never as a UNIX socket's peer.
        text = given["ADDR"]
        text = text[5:] if text.upper().startswith("IPV6:") else text
        try:
            address = str(ipaddress.ip_address(text)) if text else "0.0.0.0"  # not a binding
        except ValueError:
            return reply(501, "5.5.4", "XCLIENT ADDR is no IP address")
    if "PORT" in given:
        if not (given["PORT"].isdecimal() and int(given["PORT"]) < 65_536):
            return reply(501, "5.5.4", "XCLIENT PORT is no port number")
        port = int(given["PORT"])
    return Client(
        address,
        port,
        helo=given.get("HELO", ""),
        extended=given.get("PROTO", "ESMTP").upper() != "SMTP",
        tls=client.tls,
        login=given.get("LOGIN", client.login),
        name=given.get("NAME", client.name),
    )
