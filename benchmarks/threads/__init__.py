"""``python -m benchmarks.threads``: requests a second by the number of threads and processes, with and without the GIL.

``rows`` says what is measured, and ``measure`` starts the servers of one application and puts load on each of them;
``results`` has medians, ``targets`` what the project wants them to be, ``advice`` what a user should take; ``report``,
``curves`` and ``page`` write them. Servers, environments and the load generator are those of ``benchmarks.compare``.
"""
