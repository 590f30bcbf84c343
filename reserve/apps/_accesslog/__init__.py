"""The access log: what is known of a request that is over, how a line is made of it, and where lines go."""
