"""reserve's own applications: each module here, and each package, is one that ``reserve app NAME`` finds."""
