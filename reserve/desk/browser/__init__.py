"""The browser of a desk program: opening its page, once, privately, in a window, and ending with its last tab."""
