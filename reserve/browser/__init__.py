"""The browser of the person who starts a server or a desk program: finding it, and opening a page in it."""
