"""The one table of the server's options, and what is made from it: values from three sources, ``-h``, the page."""
