"""One connection: its state, its owner, its driver's contract, its output, and how it closes."""
