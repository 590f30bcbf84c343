"""Adapters that were written for other servers."""
