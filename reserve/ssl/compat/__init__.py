"""TLS adapters that were written for other servers."""
