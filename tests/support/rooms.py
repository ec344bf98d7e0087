"""A root file system of busybox alone, and steps that run in it."""

import io
import pathlib
import shutil

from buildchain import digest, executor, store, tar, tree

APPLETS = ("sh", "env", "cat", "id", "ls", "mkdir", "hostname", "stat", "find", "sleep", "touch", "ln", "chmod", "wc")


def busybox_root(source: store.Store) -> digest.Descriptor:
    """A layer with busybox and links to it."""
    program = pathlib.Path(shutil.which("busybox") or "").read_bytes()
    owner = (0, 0, 1_700_000_000)
    members: list[tuple[tar.Header, list[bytes]]] = [
        (tar.Header(name, tar.Kind.DIRECTORY, 0o755, *owner), []) for name in ("bin", "usr", "usr/bin")
    ]
    members.append((tar.Header("bin/busybox", tar.Kind.FILE, 0o755, *owner, size=len(program)), [program]))
    members += [
        (tar.Header(f"bin/{name}", tar.Kind.SYMBOLIC_LINK, 0o777, *owner, target="busybox"), []) for name in APPLETS
    ]
    packed = io.BytesIO()
    tar.write(members, packed.write)
    return source.add_bytes(packed.getvalue())


def step(
    source: store.Store,
    script: str,
    *,
    outputs: tuple[str, ...] = ("out",),
    inputs: tree.Tree | None = None,
    seconds: int = 30,
    **environment: str,
) -> executor.Action:
    """A step that runs a shell script."""
    return executor.Action(
        name="test step",
        argv=("sh", "-euc", script),
        root=(busybox_root(source),),
        inputs=inputs or tree.Tree(),
        outputs=outputs,
        environment={"SOURCE_DATE_EPOCH": "1700000000", **environment},
        seconds=seconds,
    )


LOOK = """\
id -u; id -g; umask; env; cd out; mkdir -p d
umask > umask; id -u > user; id -g > group; hostname > host; env > env 2>&1
stat -c '%n %a %u %g %Y %F' ../in/a ../in/run ../in/l ../in > inputs
cat ../in/l > d/copied; ls / > root; ls /tmp | wc -l > tmp; ls /build/out/../.. > /dev/null
touch empty; chmod 0777 empty
"""


def look(source: store.Store) -> executor.Action:
    """A step that writes down all that it can see: every room must show it the same."""
    inputs = tree.build(
        [
            tree.File("in/a", source.add_bytes(b"input\n")),
            tree.File("in/run", source.add_bytes(b"#!/bin/sh\n"), is_program=True),
            tree.Link("in/l", "a"),
            tree.File("out/.keep", source.add_bytes(b"")),
        ]
    )
    return step(source, LOOK, inputs=inputs, WORD="a b")
