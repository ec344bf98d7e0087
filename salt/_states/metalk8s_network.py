"""States of what answers on this host."""

import typing
from collections.abc import Callable

__salt__: dict[str, Callable[..., typing.Any]]
__opts__: dict[str, typing.Any]


def listening(name: str, timeout: int = 300) -> dict[str, typing.Any]:
    """Something accepts connections; systemd takes a container for started before what is in it is ready.

    Arguments:
        name:    address and port, as in 10.200.1.1:8080.
        timeout: how long it may take, in seconds. On an emulated processor the Salt master takes more than one minute.
    """
    is_test = __opts__["test"]
    address, _, port = name.rpartition(":")
    result: dict[str, typing.Any] = {"name": name, "result": True, "comment": "", "changes": {}}
    if __salt__["metalk8s_network.accepts"](address, int(port), 0 if is_test else timeout):
        return {**result, "comment": f"{name} accepts connections"}
    if is_test:
        return {**result, "result": None, "comment": f"would wait for {name}"}
    comment = f"nothing accepts connections at {name} after {timeout} s; the journal of its unit says why"
    return {**result, "result": False, "comment": comment}
