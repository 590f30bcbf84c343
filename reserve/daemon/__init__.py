"""What a process in the background needs, for the command and sdlaunch: a session, and a file with its process ID."""
