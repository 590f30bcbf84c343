"""The ground floor of the engine: the poller, the clock, timers, and what wakes a thread that waits."""
