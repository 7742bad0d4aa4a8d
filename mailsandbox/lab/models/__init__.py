"""One watcher per delivery model, each a client of its own over a counting connection."""
