"""What tests of mail programs need: the pytest plugin."""
