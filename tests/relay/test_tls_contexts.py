"""Which connections share a TLS context."""

import ssl

import pytest

from mailsandbox.relay.tls import TlsPolicy, context_for


@pytest.mark.rfc(7435, "3")
def test_connections_that_take_anyones_certificate_share_a_context_and_one_that_verifies_has_its_own() -> None:
    anyones = context_for(TlsPolicy("opportunistic"))
    assert (anyones.verify_mode, anyones.check_hostname) == (ssl.CERT_NONE, False)
    assert context_for(TlsPolicy("required")) is context_for(TlsPolicy("dane")) is anyones
    verifying = context_for(TlsPolicy("verified"))
    assert (verifying.verify_mode, verifying.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert verifying is not anyones
