"""The tasks of the buildchain, for doit."""

from buildchain.tasks.images import *  # noqa: F403
