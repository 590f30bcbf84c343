"""The control socket in the command: its options in a server, and the commands that use it, as ``reserve status``."""
