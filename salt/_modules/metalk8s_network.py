"""The addresses of this host on the networks of the pillar `metalk8s:networks`."""

import typing
from collections.abc import Callable

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]


def control_plane_ip() -> str:
    """This host's address on the first control plane network that it is connected to.

    CLI Example::

        salt-call metalk8s_network.control_plane_ip
    """
    networks: list[str] = __salt__["pillar.get"]("metalk8s:networks:control_plane", [])
    for network in networks:
        addresses: list[str] = __salt__["network.ip_addrs"](cidr=network)
        if addresses:
            return sorted(addresses)[0]
    names = ", ".join(networks) or "(none is configured)"
    raise CommandExecutionError(f"this host has no address on the control plane networks {names}")
