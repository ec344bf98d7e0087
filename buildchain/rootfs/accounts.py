"""/etc/passwd and /etc/group: base-passwd's master files and the users and groups of recipes (passwd(5), group(5)).

There is no /etc/shadow: the master files lock every account with `*`, and nobody logs in to a container.
"""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Group:
    """A group of a recipe."""

    name: str
    gid: int


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class User:
    """A user of a recipe; `group` is the name of the primary group."""

    name: str
    uid: int
    group: str
    home: str
    shell: str


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """The two files, and the ids that names have in them."""

    passwd: bytes = b""
    group: bytes = b""

    @property
    def users(self) -> dict[str, int]:
        """User ids by name."""
        return _ids(self.passwd)

    @property
    def groups(self) -> dict[str, int]:
        """Group ids by name."""
        return _ids(self.group)


def extend(start: Accounts, users: Iterable[User], groups: Iterable[Group]) -> tuple[Accounts, list[str]]:
    """Accounts with more users and groups, and what is wrong with them."""
    problems: list[str] = []
    group = start.group
    for each in sorted(groups, key=lambda each: (each.gid, each.name)):
        problems += _clashes("group", _ids(group), each.name, each.gid)
        group += f"{each.name}:*:{each.gid}:\n".encode()
    gids, passwd = _ids(group), start.passwd
    for user in sorted(users, key=lambda user: (user.uid, user.name)):
        problems += _clashes("user", _ids(passwd), user.name, user.uid)
        if user.group not in gids:
            problems.append(f"users.{user.name}.group: there is no group {user.group!r}")
        gid = gids.get(user.group, 0)
        passwd += f"{user.name}:*:{user.uid}:{gid}::{user.home}:{user.shell}\n".encode()
    return Accounts(passwd, group), problems


def _clashes(kind: str, known: dict[str, int], name: str, number: int) -> list[str]:
    problems = []
    if name in known:
        problems.append(f"{kind}s.{name}: is there already, with id {known[name]}")
    taken = [other for other, known_number in known.items() if known_number == number and other != name]
    if taken:
        problems.append(f"{kind}s.{name}: id {number} is that of {taken[0]}")
    return problems


def _ids(content: bytes) -> dict[str, int]:
    fields = (line.split(":") for line in content.decode().splitlines())
    return {row[0]: int(row[2]) for row in fields}
