"""The only owner of the `docker` SDK: builds with whatever Docker-compatible daemon the environment names.

    DOCKER_HOST, or dockerd's socket, or podman's ──session──▶ Engine ── pull, build, save ──▶ a saved image
    the store ──loopback.serve──▶ 127.0.0.1:PORT/NAME@sha256:… ──▶ what `pull` asks for

A daemon keeps nothing of a session: images, layers and containers that it made are removed at its end, also after an
error and after Ctrl-C.
"""

from buildchain.engine._session import Engine, StepError, session

__all__ = ["Engine", "StepError", "session"]
