"""The pytest plugin: fixtures `mailsandbox` and `mailbox`."""
