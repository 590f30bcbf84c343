"""The table of the server's options, and what is made from it: values of three sources, ``-h``, the reference page."""
