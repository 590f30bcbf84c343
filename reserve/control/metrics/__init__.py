"""The numbers of all processes for systems that watch: Prometheus and StatsD."""
