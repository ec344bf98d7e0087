"""The box: a minimal Debian host made of the medium's own packages, for Vagrant and for the tests of a node.

Nothing on it is MetalK8s': what a node needs beyond a minimal host is what bootstrap.sh must bring. Debian's own
tools make it, offline, with the medium's signatures checked; it is no part of any medium, and not reproducible.
"""

import pathlib
import re

from buildchain import command, errors

PACKAGES = (
    "apt",
    "ca-certificates",
    "dbus",
    "iproute2",
    "mount",
    "systemd",
    "systemd-sysv",
)
"""What an installed minimal Debian 12 has of what the medium carries, beyond Debian's essential packages."""

INIT = "/lib/systemd/systemd"
STOP_SIGNAL = "SIGRTMIN+3"
"""What systemd takes as the order to halt (systemd(1)); docker's default would make it start anew."""

CAPABILITIES = ("DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_NICE", "SYS_PTRACE")
"""What a container of the box may beyond docker's own: for systemd's mounts and namespaces, containerd, the firewall.

CAP_SYS_RESOURCE is not among it, so that a machine can be made where root itself lacks it.
"""

RUN_OPTIONS = (
    *(f"--cap-add={capability}" for capability in CAPABILITIES),
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--tmpfs=/run:exec,mode=755",
    "--tmpfs=/tmp:exec,mode=1777",
    "--volume=/var/lib/containerd",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup",
    f"--stop-signal={STOP_SIGNAL}",
)
"""What `docker run` must be told so that systemd and containerd run in a container of the box."""

_KEY = "signing-key.asc"
_REPOSITORIES = "packages/debian"


def build(medium: pathlib.Path, target: pathlib.Path) -> None:
    """Make the box's file system from a staged medium.

    Arguments:
        medium: the staged tree, or the folder where an ISO is mounted.
        target: a tar file, replaced whole.

    Raises:
        BuildchainError: the medium holds no repository, or the packages cannot be installed.
    """
    lines = sources(medium)
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ["--quiet", "--variant=essential", "--format=tar", f"--include={','.join(PACKAGES)}"]
    # The host's own list of sources is empty: who installs it has no mirror.
    options.append('--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*')
    try:
        command.run(["mmdebstrap", *options, "", part, *lines])
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sources(medium: pathlib.Path) -> list[str]:
    """The repositories of a medium, as lines of sources.list(5).

    Raises:
        BuildchainError: it holds none.
    """
    folders = sorted(path.parent for path in (medium / _REPOSITORIES).glob("*/InRelease"))
    if not folders:
        why = f"{medium / _REPOSITORIES} holds no repository"
        raise errors.BuildchainError("the box", why, "Build the staged tree first: ./doit.sh populate_iso")
    return [f"deb [signed-by={medium / _KEY}] copy:{folder} ./" for folder in folders]


def load(root: pathlib.Path, name: str, *, host: str = "") -> None:
    """Give a box to a Docker-compatible daemon as an image.

    Arguments:
        root: what `build` wrote.
        host: of the daemon, as in DOCKER_HOST; empty: the client's own choice.

    Raises:
        ToolError: the daemon does not answer.
    """
    environment = {"DOCKER_HOST": host} if host else None
    changes = [f'CMD ["{INIT}"]', "ENV container=docker"]
    argv = ["docker", "import", *(f"--change={change}" for change in changes), str(root), name]
    hint = "Is a docker daemon running, and may you use it? Try: docker info"
    command.run(argv, environment=environment, is_users_own=True, hint=hint)


def image_name(version: str) -> str:
    """The box's name in a docker daemon; a tag has no `+` and no `~`."""
    return f"metalk8s/box:{re.sub('[^A-Za-z0-9_.-]', '_', version)}"
