"""What the HTTP server refuses and what it takes, as rows: the page ``strictness.md`` and the tests are made of them.

Each row has the octets that show it, so that the tests send it to the parser, in every delivery, and to a running
server; a test finds every reason in the code that has no row. Constant, and never imported by the server.
``python -m tests.strictness`` prints the page.
"""
