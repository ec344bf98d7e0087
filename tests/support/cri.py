"""A kubelet's side of containerd, as the registry's own tests have it."""

from scr_testing.cri import (
    Images,
)

__all__ = ["Images"]
