"""Log lines that no connection waits for."""
