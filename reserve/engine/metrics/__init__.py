"""What the server counts, and what it says of itself."""
