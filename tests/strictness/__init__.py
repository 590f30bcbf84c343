"""What the HTTP server refuses and what it accepts, as rows: the page ``strictness.md`` and the tests are made of them.

Each row has an example: the tests send it to the parser in pieces of every size, and to a running server. Another test
finds every reason in the code that has no row. The rows are constant, and the server never imports them.
``python -m tests.strictness`` prints the page.

The page ``responses.md`` has rows of the same kind for what applications send: the example of each is an application,
which a test serves. ``python -m tests.strictness responses`` prints that page.
"""
