"""Images in containerd, through its own client `ctr`."""

import typing
from collections.abc import Callable

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]


def names(namespace: str) -> list[str]:
    """The images that containerd holds in a namespace.

    CLI Example::

        salt-call metalk8s_image.names k8s.io
    """
    return sorted(_ctr(namespace, "list", "--quiet").splitlines())


def load(namespace: str, archive: str, name: str) -> None:
    """Import one image of an archive (OCI layout in a tar file) into a namespace.

    CLI Example::

        salt-call metalk8s_image.load k8s.io /tmp/images.tar example.org/pause:1
    """
    # With a base name, ctr leaves the other images of the archive alone.
    repository = name.rpartition(":")[0]
    _ctr(namespace, "import", "--base-name", repository, archive)


def _ctr(namespace: str, *arguments: str) -> str:
    argv = ["ctr", "--connect-timeout", "5s", "--namespace", namespace, "images", *arguments]
    done: dict[str, typing.Any] = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"] != 0:
        raise CommandExecutionError(f"{' '.join(argv)}: {done['stderr']}")
    return str(done["stdout"])
