"""Looking at a running server and controlling it from outside: one document about all its processes, and the socket."""
