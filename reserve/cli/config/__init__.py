"""The commands about configuration, which start no server: ``check-config``, ``config-schema`` and ``migrate``."""
