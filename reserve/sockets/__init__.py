"""Listening sockets: their addresses, opening them, and those of sdlaunch and systemd. Needs no engine."""
