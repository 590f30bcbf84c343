"""WebSocket (RFC 6455): bytes in, messages out, on the sans-I/O part of ``websockets``."""
