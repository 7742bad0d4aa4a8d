"""Every delivery model on the same mail, measured side by side: the watchers, the demonstration, the comparison."""
