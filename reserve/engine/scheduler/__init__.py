"""Which thread steps which connection: the ready queue, the lead, the workers, and the monitor."""
