"""Daemons for the length of a test, as the registry's own tests start them."""

from scr_testing.daemons import (
    free_port,
)

__all__ = ["free_port"]
