"""States of the images in containerd."""

import typing
from collections.abc import Callable

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]
__opts__: dict[str, typing.Any]


def imported(name: str, layout: str, namespace: str) -> dict[str, typing.Any]:
    """An image is in a namespace of containerd; if it is not, it is imported from an OCI image layout.

    Arguments:
        name:    the full name of the image, with its tag.
        layout:  a folder with an OCI image layout that holds an image of this name.
    """
    return _present(name, namespace, f"imported from {layout}", "metalk8s_image.load", layout, name)


def pulled(name: str, namespace: str) -> dict[str, typing.Any]:
    """An image is in a namespace of containerd; if it is not, it is pulled from the registry.

    Arguments:
        name: the full name of the image, with its tag.
    """
    return _present(name, namespace, "pulled from the registry", "metalk8s_image.pull", name)


def _present(name: str, namespace: str, how: str, function: str, *arguments: str) -> dict[str, typing.Any]:
    changes = {name: {"old": None, "new": how}}
    try:
        if name in __salt__["metalk8s_image.names"](namespace):
            return _result(name, True, f"{name} is there")
        if __opts__["test"]:
            return _result(name, None, f"{name} would be {how}", changes)
        __salt__[function](namespace, *arguments)
        is_there = name in __salt__["metalk8s_image.names"](namespace)
    except CommandExecutionError as error:
        # Before the first run containerd is not installed; that says nothing against a test run.
        return _result(name, None if __opts__["test"] else False, str(error), changes if __opts__["test"] else {})
    if not is_there:
        return _result(name, False, f"{name} was not {how}: there is no image of that name")
    return _result(name, True, f"{name} is {how}", changes)


def _result(
    name: str, result: bool | None, comment: str, changes: dict[str, typing.Any] | None = None
) -> dict[str, typing.Any]:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}
