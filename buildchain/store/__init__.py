"""The content-addressed store: every byte the buildchain keeps, by digest.

    partial/<hex>.part   bytes on their way in: unverified, resumable, never read by a build
    sha256/<2>/<hex>     verified, 0444, complete: an entry exists only after its digest was checked
    sha256/<2>/<hex>.x   the same bytes with the mode of a program (0555): an inode has one mode
    notes/<name>         what was found out about entries: may be deleted at any time, is judged by who reads it

Several processes may use one store: entries appear by rename, equal digest means equal bytes, and whoever writes
below `partial/` holds a lock on that file. A store that cannot be written serves what it holds.
"""

from buildchain.store._store import Store, Writer

__all__ = ["Store", "Writer"]
