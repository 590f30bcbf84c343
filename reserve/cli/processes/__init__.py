"""The command as one of several processes: what a worker process and the supervisor have in common, and the worker."""
