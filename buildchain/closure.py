"""Can everything on a medium be installed by hosts that have nothing but the medium and their base?

The hosts' own solvers answer: apt and dnf, each reading the repositories as they stand, in folders of their own.

    packages/debian/* + base ──apt-get --simulate──▶ holes
    packages/redhat/* + base ──dnf's solver──▶ holes
"""

import collections
import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Iterator, Sequence

from buildchain import bases, errors, manifest, private_apt, rpm

_KEY = "signing-key.asc"
_REASON = re.compile(r" \S+ : | +(Pre-)?Depends: | +Conflicts: | +Breaks: |E: (?!.*held broken)")
_HINT = "Name the folder where a medium is staged or mounted."


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Of one kind of host: how many packages there are for it, and why some cannot be installed, by package."""

    host: str
    count: int
    holes: dict[str, list[str]]

    def __str__(self) -> str:
        if not self.holes:
            return f"{self.host}: all {self.count} packages can be installed\n"
        lines = [f"  {name}: {reason}\n" for name, reasons in sorted(self.holes.items()) for reason in reasons]
        return f"{self.host}: {len(self.holes)} of {self.count} packages cannot be installed\n{''.join(lines)}"


def check(root: pathlib.Path, hosts: Sequence[bases.Base]) -> list[Answer]:
    """Ask for every base, and every family or distribution on the medium that it fits.

    Arguments:
        root:  where the medium is staged or mounted; it should have been verified.
        hosts: the bases; a family or distribution without any is asked for a host that holds nothing.

    Raises:
        BuildchainError: there are no repositories, or one cannot be read.
        ToolError:       apt or dnf is missing.
    """
    answers = [answer for group in _groups(root) for answer in _answers(root, group, hosts)]
    if not answers:
        raise errors.BuildchainError(str(root), "has no packages/debian or packages/redhat", _HINT)
    return answers


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    """The repositories that one host configures together."""

    family: str
    distribution: str
    folders: tuple[pathlib.Path, ...]


def _groups(root: pathlib.Path) -> Iterator[_Group]:
    """All DEB repositories together; those of RPMs by the distribution that ends their name."""
    for family in manifest.FAMILIES.values():
        by_distribution: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
        for folder in sorted((root / "packages" / family).glob("*/")):
            is_rpm = family == manifest.FAMILIES[manifest.RPM]
            by_distribution[folder.name.rpartition("-")[2] if is_rpm else ""].append(folder)
        for distribution, folders in sorted(by_distribution.items()):
            yield _Group(family, distribution, tuple(folders))


def _answers(root: pathlib.Path, group: _Group, hosts: Sequence[bases.Base]) -> Iterator[Answer]:
    fitting: list[bases.Base | None] = [
        host for host in hosts if host.family == group.family and host.distribution in ("", group.distribution)
    ]
    for host in fitting or [None]:
        where = f"{group.family} {group.distribution}".strip() + (f" on {host.name}" if host else " on nothing")
        if group.family == manifest.FAMILIES[manifest.RPM]:
            holes = rpm.holes({folder.name: folder for folder in group.folders}, host, group.distribution)
            count = sum(1 for folder in group.folders for _ in folder.rglob("*.rpm"))
            yield Answer(where, count, holes)
        else:
            yield _ask_apt(root, group, host, where)


def _ask_apt(root: pathlib.Path, group: _Group, host: bases.Base | None, where: str) -> Answer:
    with tempfile.TemporaryDirectory(prefix="apt-") as directory:
        apt = _open_apt(pathlib.Path(directory), root.resolve(), group.folders, host)
        names = _names(apt)
        # All at once is one question; only when that has no answer, each alone.
        if not _problem(apt, names):
            return Answer(where, len(names), {})
        found = {name: _problem(apt, [name]) for name in names}
    return Answer(where, len(names), {name: reasons for name, reasons in found.items() if reasons})


def _open_apt(
    directory: pathlib.Path, medium: pathlib.Path, folders: Sequence[pathlib.Path], host: bases.Base | None
) -> private_apt.Folder:
    """A private apt that has read the medium's repositories and believes a host to hold its base."""
    status = "\n".join(map(_stanza, host.packages if host else ()))
    apt = private_apt.prepare(directory, host.architecture if host else manifest.DEFAULT_ARCHITECTURE, status=status)
    key = apt.root / "key.asc"
    key.write_bytes(_read_key(medium / _KEY))
    stanzas = []
    for number, folder in enumerate(folders):
        # By a name of our own: apt's sources have no quoting.
        link = apt.root / f"medium{number}"
        link.symlink_to(folder.resolve())
        stanzas.append(f"Types: deb\nURIs: copy:{link}\nSuites: ./\nSigned-By: {key}\n")
    apt.write_sources(stanzas)
    apt.run("apt-get", "update", "-q")
    return apt


def _names(apt: private_apt.Folder) -> list[str]:
    """Every package of the medium, as NAME=VERSION."""
    from debian import deb822

    found = set()
    for path in apt.lists("*_Packages"):
        stanzas = deb822.Packages.iter_paragraphs(path.read_text(encoding="utf-8").splitlines(), use_apt_pkg=False)
        found |= {f"{stanza['Package']}={stanza['Version']}" for stanza in stanzas}
    return sorted(found)


def _problem(apt: private_apt.Folder, names: Sequence[str]) -> list[str]:
    """Why these packages cannot be installed together; empty if they can."""
    options = ["--simulate", "--yes", "--no-remove", "--allow-downgrades"]
    try:
        apt.run("apt-get", "install", *options, *names)
    except errors.ToolError as error:
        if error.exit_code is None:
            raise
        lines = [line.strip() for line in error.output.splitlines() if _REASON.match(line)]
        return lines or [error.output.strip()]
    return []


def _read_key(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT) from error


def _stanza(package: bases.Package) -> str:
    fields = {
        "Package": package.name,
        "Status": "install ok installed",
        "Architecture": package.architecture,
        "Multi-Arch": "foreign",
        "Version": package.version,
        "Provides": ", ".join(_provided(each) for each in package.provides),
        "Maintainer": "-",
        "Description": "-",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _provided(text: str) -> str:
    """`name = 1` is `name (= 1)` in a control file, which may stand in a list as well."""
    name, _, version = text.partition(" = ")
    return f"{name} (= {version})" if version and "(" not in name else text
