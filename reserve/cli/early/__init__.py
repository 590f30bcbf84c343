"""What runs before the command is imported: it imports only what the interpreter has loaded anyway."""
