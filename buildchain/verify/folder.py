"""A medium as a folder: mounted or staged. Links are never followed."""

import os
import pathlib
import stat

from buildchain.verify import medium, report


def scan(root: pathlib.Path) -> tuple[dict[str, medium.Node], list[report.Fault]]:
    """Every entry below `root` (and the root itself, as `.`) by path; names that are not UTF-8 are faults."""
    nodes = {".": _node(str(root), root.stat())}
    faults: list[report.Fault] = []
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(root / directory) as entries:
                found = sorted((f"{directory}/{entry.name}" if directory else entry.name, entry) for entry in entries)
        except OSError as error:
            faults.append(report.Fault(directory or ".", f"cannot be read: {error.strerror}"))
            continue
        for path, entry in found:
            if len(nodes) > medium.MAX_ENTRIES:
                return nodes, [*faults, report.Fault(".", f"has more than {medium.MAX_ENTRIES} entries")]
            try:
                nodes[path] = _node(entry.path, entry.stat(follow_symlinks=False))
            except OSError as error:
                faults.append(report.Fault(path, f"cannot be read: {error.strerror}"))
                continue
            faults += _faults_of_name(path)
            if nodes[path].kind is medium.Kind.DIRECTORY:
                waiting.append(path)
    return nodes, faults


def _node(path: str, status: os.stat_result) -> medium.Node:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return medium.Node(medium.Kind.DIRECTORY, mode)
    if stat.S_ISLNK(status.st_mode):
        return medium.Node(medium.Kind.LINK, mode, target=str(pathlib.Path(path).readlink()))
    if stat.S_ISREG(status.st_mode):
        return medium.Node(medium.Kind.FILE, mode, medium.Content.of_file(path, status))
    return medium.Node(medium.Kind.OTHER, mode)


def _faults_of_name(path: str) -> list[report.Fault]:
    try:
        path.encode()
    except UnicodeEncodeError:
        return [report.Fault(path, "its name is not UTF-8")]
    return []
