"""A real nginx for the length of a test, as the registry's own tests start it."""

from scr_testing.nginx import (
    Server,
    check,
    serve,
)

__all__ = ["Server", "check", "serve"]
