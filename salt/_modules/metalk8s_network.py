"""The addresses of this host on the networks of the pillar `metalk8s:networks`."""

import socket
import time
import typing
from collections.abc import Callable, Mapping

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]
# Not the function pillar.get: beyond templates, Salt puts asterisks in place of what that returns.
__pillar__: Mapping[str, typing.Any]


def control_plane_ip() -> str:
    """This host's address on the first control plane network that it is connected to.

    CLI Example::

        salt-call metalk8s_network.control_plane_ip
    """
    networks: list[str] = __pillar__.get("metalk8s", {}).get("networks", {}).get("control_plane", [])
    for network in networks:
        addresses: list[str] = __salt__["network.ip_addrs"](cidr=network)
        if addresses:
            return sorted(addresses)[0]
    names = ", ".join(networks) or "(none is configured)"
    raise CommandExecutionError(f"this host has no address on the control plane networks {names}")


def accepts(address: str, port: int, timeout: int) -> bool:
    """Whether something accepts a connection within so many seconds.

    CLI Example::

        salt-call metalk8s_network.accepts 10.200.1.1 8080 60
    """
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.2)
        else:
            return True
