"""``python -m benchmarks.compare``: reserve and other servers of WSGI applications, side by side.

``workloads`` and ``servers`` say what is measured, and ``environment`` builds what they need; ``measure`` measures one
server once, with the load of ``generator``; ``results`` has medians and spread, ``targets`` what the project wants them
to be; ``report``, ``pictures`` and ``charts`` write them. See benchmarks/README.md.
"""
