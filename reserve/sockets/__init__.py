"""Listening sockets: their addresses, opened here or passed on by sdlaunch and systemd. Needs no engine."""
