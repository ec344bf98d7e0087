"""Run one step of a build in a closed room: the same bytes come out wherever the room stands.

    layers (tar) + input files + argv ──Action──▶ executor ──▶ Result: path → digest in the store

An `Action` is a frozen value of the shape that the Remote Execution API v2 has (Command, Directory, Action,
ActionResult), so that a build farm can be one more executor. Its digest is that of everything the step may see; a
result is kept under that digest, and asked for before anything runs.

    room = executor.choose("auto", source, scratch, logs)     # refuses at once, in one line, what cannot work here
    action = executor.Action(
        name="metalk8s-sosreport deb",                          # for logs and messages, not part of the digest
        argv=("dpkg-buildpackage", "-b", "-uc", "-us"),
        root=(layer, …),                                        # uncompressed tars in the store, the lowest first
        inputs=tree,                                            # files of the store, placed below `directory`
        environment={"SOURCE_DATE_EPOCH": "1700000000"},        # beside ENVIRONMENT
        outputs=("out",),                                       # files or folders, relative to `directory`
        directory="/build",
    )
    result = room.run(action)
    result.outputs                                              # {"out/x.deb": Descriptor, …}, all in the store
    source.read(result.log.digest)                              # what it printed

What a step sees: the root with the inputs in it (plain files 0644, programs 0755, all as old as SOURCE_DATE_EPOCH),
itself as user 0 and the only user, umask 022, the host name `build`, an empty /tmp, no network, and no other
variable than those given. A layer adds and replaces, it cannot remove; owners in it are not kept. What no executor
hides: the clock, the kernel, and the number of processors.
"""

from buildchain.executor._action import DIRECTORY, ENVIRONMENT, PLATFORM, Action, Executor, Result
from buildchain.executor._choice import choose
from buildchain.executor._results import recall

__all__ = [
    "DIRECTORY",
    "ENVIRONMENT",
    "PLATFORM",
    "Action",
    "Executor",
    "Result",
    "choose",
    "recall",
]
