"""Environments of Python that own packages ship: locked files of a package index, put together in a room.

requirements/NAME.txt ──requirements.load──▶ Requirement…          projects and versions, by hash
Requirement… + index ──index.choose──▶ lock.File…                  ./doit.sh lock; the index is the one of pip
lock.File… + room ──steps.environment──▶ executor.Action ──run──▶ NAME.tar.gz
"""

from buildchain.wheels import index, requirements, steps

__all__ = ["index", "requirements", "steps"]
