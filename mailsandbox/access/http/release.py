"""The version that is told to clients."""

from importlib import metadata


def version() -> str:
    """Of the installed distribution; the package itself is above this layer and is not asked."""
    return metadata.version("mailsandbox")
