"""What comes with the buildchain and a Solution's author needs: a base recipe, lists that were read, keys.

In a checkout these are the repository's own files; a wheel carries the same files inside of the package
(`pyproject.toml`, package-dir).
"""

import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def recipes() -> pathlib.Path:
    """The folder of `base/image.yaml`, `exclusions.yaml` and `maintainer-scripts.yaml`."""
    return _either("recipes", "images")


def keys() -> pathlib.Path:
    """The folder of the Debian archives' public keys and of the development key."""
    return _either("keys", "packages/keys")


def node_modules() -> pathlib.Path:
    """The folder of the code that judges a Solution's registry configuration where it is imported."""
    return _either("node", "salt/_modules")


def development_key() -> pathlib.Path:
    """The published key that signs what is no release."""
    return keys() / "development" / "secret.asc"


def _either(installed: str, checked_out: str) -> pathlib.Path:
    path = _PACKAGE / installed
    return path if path.is_dir() else _PACKAGE.parent / checked_out
