"""What some servers want besides a URL: headers, credentials, certificates. Values and the hook; no decision."""

import dataclasses
import typing
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """How one host is checked and what it is shown: paths of PEM files."""

    ca_bundle: str | None = None
    """Instead of the certificates that other hosts are checked with."""
    client_certificate: str | None = None
    client_key: str | None = None
    """None when the key stands in the file of the certificate."""


class Access(typing.Protocol):
    """Knows what to send along to which server; called from several threads at once."""

    def trust(self, url: str) -> Trust | None:
        """What holds for the host of a URL, if it differs from what holds for all."""

    def headers(self, url: str) -> Mapping[str, str]:
        """What is sent along to this URL, and to no other it redirects to on another host."""

    def renew(self, url: str, challenge: str, sent: Mapping[str, str]) -> None:
        """A server answered 401 to what was sent: get what it wants, for the next call of `headers`.

        Raises:
            BuildchainError: there is nothing that could be sent.
        """
