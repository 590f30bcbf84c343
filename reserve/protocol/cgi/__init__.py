"""What the protocols with CGI variables have in common: the environ that is made of them, and the responses."""
