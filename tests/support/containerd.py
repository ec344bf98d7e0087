"""A private containerd for the length of a test, as the registry's own tests start it."""

from scr_testing.containerd import (
    Client,
    containerd,
)

__all__ = ["Client", "containerd"]
