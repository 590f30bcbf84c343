"""Where cheroot has its pool of threads: ``workers.threadpool``."""
