"""Images in containerd, through its own client `ctr`."""

import typing
from collections.abc import Callable

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]

# ctr imports archives only; the folder becomes one on the way, and is never stored twice.
_IMPORT = 'tar --create --directory "$1" . | ctr --connect-timeout 5s --namespace "$2" images import --base-name "$3" -'

# Only containerd's own interface for Kubernetes reads it unasked.
_HOSTS_DIRECTORY = "/etc/containerd/certs.d"


def names(namespace: str) -> list[str]:
    """The images that containerd holds in a namespace.

    CLI Example::

        salt-call metalk8s_image.names k8s.io
    """
    return sorted(_ctr(namespace, "list", "--quiet").splitlines())


def load(namespace: str, layout: str, name: str) -> None:
    """Import one image of an OCI image layout (a folder) into a namespace.

    CLI Example::

        salt-call metalk8s_image.load k8s.io /srv/medium/bootstrap-images example.org/pause:1
    """
    # With a base name, ctr leaves the other images of the layout alone.
    repository = name.rpartition(":")[0]
    _run(["sh", "-c", _IMPORT, "sh", layout, namespace, repository])


def pull(namespace: str, name: str) -> None:
    """Pull an image from the registry that the configuration of containerd names for it.

    CLI Example::

        salt-call metalk8s_image.pull metalk8s example.org/etcd:1
    """
    _ctr(namespace, "pull", "--hosts-dir", _HOSTS_DIRECTORY, name)


def _ctr(namespace: str, *arguments: str) -> str:
    return _run(["ctr", "--connect-timeout", "5s", "--namespace", namespace, "images", *arguments])


def _run(argv: list[str]) -> str:
    done: dict[str, typing.Any] = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"] != 0:
        raise CommandExecutionError(f"{' '.join(argv)}: {done['stderr']}")
    return str(done["stdout"])
