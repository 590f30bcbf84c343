"""The engine's own drivers: generic handlers, TLS handshakes, and the upgrade from one to the other."""
