"""What the lines of a recipe change in a root file system made of packages."""

from collections.abc import Iterator

from buildchain import errors
from buildchain.image import recipe
from buildchain.rootfs import accounts, entries, generated, linkage, spool

USERS_FILE = "etc/passwd"
GROUPS_FILE = "etc/group"

_MADE_BY_RUNTIME = ("dev", "proc", "run", "sys")


def apply(root: entries.Rootfs, wanted: recipe.Recipe, contents: spool.Spool, mtime: int) -> entries.Rootfs:
    """The root file system with a recipe's accounts, directories, files and links; they win over what packages hold.

    Arguments:
        mtime: time of all that the recipe adds.

    Raises:
        ConfigError: with every line that does not fit.
    """
    found = root.by_path()
    known, problems = accounts.extend(_accounts(found, contents), wanted.users, wanted.groups)
    if wanted.users or wanted.groups:
        for path, content in ((USERS_FILE, known.passwd), (GROUPS_FILE, known.group)):
            origin = _origin(wanted, "users, groups", found.get(path))
            found[path] = generated.file(path, content, mtime, origin, contents)
    for entry in _entries(wanted, known, contents, mtime, found, problems):
        there = found.get(entry.path)
        if there is None or _gives_way(there, entry, found):
            found[entry.path] = entry
        else:
            problems.append(f"{entry.path}: {there.origin} has something else there")
    problems += entries.complete(found)
    problems += _problems(wanted, known, found)
    if problems:
        raise errors.ConfigError(wanted.source, (_placed(problem) for problem in problems))
    return entries.build(found.values())


def _entries(
    wanted: recipe.Recipe,
    known: accounts.Accounts,
    contents: spool.Spool,
    mtime: int,
    found: dict[str, entries.Entry],
    problems: list[str],
) -> Iterator[entries.Entry]:
    for directory in wanted.directories:
        attributes = _attributes(directory, known, mtime, problems)
        origin = _origin(wanted, f"directories.{directory.place}", found.get(directory.path))
        yield entries.Directory(directory.path, attributes, origin)
    for file in wanted.files:
        attributes = _attributes(file, known, mtime, problems)
        origin = _origin(wanted, f"files.{file.place}", found.get(file.path))
        yield entries.File(file.path, attributes, origin, contents.add([file.content]))
    for link, target in wanted.alternatives.items():
        path = entries.canonical(link[1:])
        origin = _origin(wanted, f"alternatives.{link}", found.get(path))
        attributes = entries.Attributes(entries.LINK_MODE, 0, 0, mtime)
        yield entries.Link(path, attributes, origin, target)


def _gives_way(there: entries.Entry, entry: entries.Entry, found: dict[str, entries.Entry]) -> bool:
    """Whether a line may replace what packages have: like by like, and an empty directory by a link."""
    if isinstance(there, entries.Directory) and isinstance(entry, entries.Link):
        return not any(path.startswith(f"{there.path}/") for path in found)
    return isinstance(there, entries.Directory) == isinstance(entry, entries.Directory)


def _accounts(found: dict[str, entries.Entry], contents: spool.Spool) -> accounts.Accounts:
    files = [found.get(path) for path in (USERS_FILE, GROUPS_FILE)]
    return accounts.Accounts(
        *(contents.read(each.content) if isinstance(each, entries.File) else b"" for each in files)
    )


def _attributes(
    line: recipe.File | recipe.Directory, known: accounts.Accounts, mtime: int, problems: list[str]
) -> entries.Attributes:
    user, _, group = line.owner.partition(":")
    uid, gid = _id(user, known.users), _id(group or user, known.groups)
    if uid is None or gid is None:
        problems.append(f"{line.place}: there is no owner {line.owner!r}")
    return entries.Attributes(line.mode, uid or 0, gid or 0, mtime)


def _id(name: str, known: dict[str, int]) -> int | None:
    if name.isdigit():
        return int(name)
    return 0 if name == "root" else known.get(name)


def _origin(wanted: recipe.Recipe, line: str, there: entries.Entry | None) -> str:
    if there is None or isinstance(there, entries.Directory):
        return f"{wanted.source}: {line}"
    return f"{wanted.source}: {line}, instead of that of {there.origin}"


def _problems(wanted: recipe.Recipe, known: accounts.Accounts, found: dict[str, entries.Entry]) -> Iterator[str]:
    for link, target in wanted.alternatives.items():
        directory = link.rpartition("/")[0]
        absolute = target if target.startswith("/") else f"{directory}/{target}"
        is_made_later = absolute.lstrip("/").partition("/")[0] in _MADE_BY_RUNTIME
        if not is_made_later and linkage.follow(found, absolute) is None:
            yield f"alternatives.{link}: {target} is not in the image"
    user, _, group = wanted.config.user.partition(":")
    if (user and _id(user, known.users) is None) or (group and _id(group, known.groups) is None):
        yield f"user: there is no {wanted.config.user!r} in /etc/passwd and /etc/group"


def _placed(problem: str) -> tuple[str, str]:
    place, _, message = problem.partition(": ")
    return (place, message)
