"""The supervisor of several worker processes: it owns the listeners, and starts, replaces and stops the workers.

It has one thread for ever, and never imports an application.
"""
