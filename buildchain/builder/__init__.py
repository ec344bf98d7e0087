"""The packages that are built here, from recipe to DEB and RPM.

    packages/NAME.yaml ──recipe.load──▶ Recipe ──request──▶ locked set ──room.layer──▶ root of its room
    Recipe + sources + room ──steps.deb, steps.srpm, steps.rpm──▶ executor.Action ──run──▶ packages, findings

What the bytes of a package depend on: its recipe and sources, the locked set of its room, the date of that set, and
the code here; neither the commit nor the clock.
"""

from buildchain.builder import authorship, configuration, recipe, room, steps

__all__ = ["authorship", "configuration", "recipe", "room", "steps"]
