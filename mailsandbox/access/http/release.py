"""The version that is told to clients."""


def version() -> str:
    """Of the installed distribution; the package itself is above this layer and is not asked."""
    from importlib import metadata  # here, as it takes 7 ms to load and few ever ask

    return metadata.version("mailsandbox")
