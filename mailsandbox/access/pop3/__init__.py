"""POP3 (RFC 1939, RFC 2449, RFC 5034, RFC 6856): `codec` -> `commands` -> `session` are pure, `server` is the wire."""
