"""Names for readers that know neither Rock Ridge nor Joliet: upper case, short, unique in their directory.

ECMA-119 sections 7.5 and 7.6 at interchange level 3: d-characters; name and extension of a file have 30 characters
together, a directory has 31.
"""

import re

MAX_FILE = 30
MAX_DIRECTORY = 31
_MAX_EXTENSION = 8
_SUFFIX = 7

_OTHER = re.compile(r"[^A-Z0-9_]")


class Directory:
    """The names given out in one directory; the same names in the same order give the same result."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counters: dict[str, int] = {}

    def name_of_file(self, name: str) -> str:
        """An unused identifier with its version, such as `PRODUCT.TXT;1`."""
        stem, dot, extension = name.rpartition(".")
        if not stem:
            stem, extension = dot + extension, ""
        extension = _mangle(extension)[:_MAX_EXTENSION]
        return f"{self._claim(_mangle(stem), extension, MAX_FILE - len(extension))}.{extension};1"

    def name_of_directory(self, name: str) -> str:
        """An unused identifier of a directory."""
        return self._claim(_mangle(name), "", MAX_DIRECTORY)

    def _claim(self, stem: str, extension: str, room: int) -> str:
        """Shorten and number the stem. A counter for each prefix: to try 1, 2, 3 anew is quadratic."""
        claimed = stem[:room]
        prefix = stem[: room - _SUFFIX]
        key = f"{prefix}.{extension}"
        while f"{claimed}.{extension}" in self._taken:
            number = self._counters.get(key, 0) + 1
            self._counters[key] = number
            claimed = f"{prefix}_{number:0{_SUFFIX - 1}}"
        self._taken.add(f"{claimed}.{extension}")
        return claimed


def _mangle(name: str) -> str:
    return _OTHER.sub("_", name.upper())
