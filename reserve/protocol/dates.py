"""The names in dates of protocols and logs, which are English whatever the locale is (RFC 9110 section 5.6.7)."""

from __future__ import annotations

__all__ = ["DAYS", "MONTHS"]

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
