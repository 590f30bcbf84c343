"""reserve's own applications: ``reserve app NAME`` finds each module and each package in here."""
