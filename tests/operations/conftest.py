"""The fixtures of a host in memory."""

from tests.memoryhost import host, own

__all__ = ["host", "own"]
