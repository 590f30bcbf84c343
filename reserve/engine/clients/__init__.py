"""What each client of a server holds, and its limits."""
