"""Sockets and threads: the engine knows no protocol. ``reserve/docs/architecture.md`` draws the whole."""
