"""Which certificates servers are checked with, and which they are shown."""

import functools
import os
import pathlib
import ssl

from buildchain import errors
from buildchain.fetch import _access

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)


def find_ca_bundle(ca_bundle: str | None) -> str | bool:
    """The file or folder of trusted certificates; True stands for the one that `requests` brings along.

    Raises:
        BuildchainError: a setting names what is not there or holds no certificate.
    """
    settings = {"CA_BUNDLE": ca_bundle}
    settings |= {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")}
    for name, value in settings.items():
        if value:
            _check_bundle(name, value)
            return value
    candidates = (ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES)
    return next((path for path in candidates if path and pathlib.Path(path).is_file()), True)


def shown(trust: _access.Trust) -> str | tuple[str, str] | None:
    """What is shown to a host, as `requests` wants it."""
    if trust.client_certificate and trust.client_key:
        return trust.client_certificate, trust.client_key
    return trust.client_certificate


@functools.cache  # it takes as long as a small document
def _check_bundle(name: str, value: str) -> None:
    try:
        if not pathlib.Path(value).is_dir():
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as error:  # ssl.SSLError is one
        why = f"{value}: no certificates can be read from it ({error.strerror})"
        raise errors.BuildchainError(name, why, "Name a file of PEM certificates, or unset it.") from error
