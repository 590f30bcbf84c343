"""TLS adapters with cheroot's names and parameters: the base here, the others in ``builtin`` and ``pyopenssl``."""

from reserve.compat.cheroot.ssl.base import Adapter

__all__ = ["Adapter"]
