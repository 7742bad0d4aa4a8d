"""The configuration: TOML file, then MAILSANDBOX_* variables, then flags, to one SandboxSpec.

Invariant: an unknown key or a wrong value never passes; the error names the file, the line and the key, and what would
be right. Knows what may be written, not what it does.

    tables          the keys that may be written
    source          file, line and key of a value
    sites           sites and their listeners
    contradictions  settings that cannot be meant together
    values          sizes, periods, ports, addresses
    environment     MAILSANDBOX_* variables
    load            all of it to a SandboxSpec
    writing         a SandboxSpec back to tables, for `mailsandbox config`
"""

from mailsandbox.config.load import load, parse

__all__ = ["load", "parse"]
