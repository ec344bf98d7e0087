"""Stores with given files, and what pycdlib reads in a finished image: the judge of the unit tests."""

import dataclasses
import io
import pathlib
import stat
from collections.abc import Iterator

from pycdlib import dr, pycdlib

from buildchain import digest, lock, store, tree


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One name of an image, as Rock Ridge shows it."""

    mode: int
    links: int
    content: bytes | str
    """Bytes of a file, target of a link, nothing for a directory."""
    extent: int
    iso_name: str
    date: tuple[int, ...]
    """Years since 1900, month, day, hour, minute, second, quarters of an hour from UTC."""


def add(into: store.Store, path: str, content: bytes, *, is_program: bool = False) -> tree.File:
    """Put bytes into the store and name them."""
    return tree.File(path, into.add_bytes(content), is_program)


def typical(into: store.Store) -> tree.Tree:
    """One of each: empty, executable, twice the same, deep, long and wide names, names that differ in case, links."""
    return tree.build(
        [
            add(into, "product.txt", b"NAME=MetalK8s\n"),
            add(into, "empty", b""),
            add(into, "bin/run", b"#!/bin/sh\n", is_program=True),
            add(into, "a/same", b"z" * 5000),
            add(into, "b/same", b"z" * 5000),
            add(into, "b/program", b"z" * 5000, is_program=True),
            add(into, "1/2/3/4/5/6/7/deep", b"deep"),
            add(into, f"long/{'é' * 99}.deb", b"long"),
            add(into, f"long/{'😀' * 51}", b"wide"),
            add(into, "case/Readme", b"upper"),
            add(into, "case/README", b"shouting"),
            tree.Link("a/link", "../b/same"),
            tree.Link("dangling", "a/missing"),
        ]
    )


def hard_cases(into: store.Store) -> list[tree.Entry]:
    """All that a reader may get wrong, and the names of the default medium's packages."""
    packages = lock.load(pathlib.Path(__file__).parents[2] / lock.FILE_NAME).packages()
    pool = {f"pool/{pathlib.PurePath(package.path).name}" for package in packages}
    return [
        add(into, "product.txt", b"NAME=MetalK8s\n"),
        add(into, "empty", b""),
        add(into, "bin/run", b"#!/bin/sh\n", is_program=True),
        add(into, "images/a/blob", b"z" * 50_000),
        add(into, "images/b/blob", b"z" * 50_000),
        add(into, "images/b/program", b"z" * 50_000, is_program=True),
        add(into, "1/2/3/4/5/6/7/deep", b"deep"),
        add(into, f"long/{'é' * 99}.deb", b"long"),
        add(into, f"long/{'漢' * 80}", b"240 bytes"),
        add(into, f"long/{'😀' * 51}", b"two UTF-16 units each"),
        add(into, f"long/{'n' * 103}", b"as long as Joliet has it"),
        add(into, "case/Readme", b"upper"),
        add(into, "case/README", b"shouting"),
        add(into, "odd/ two blanks ", b"blanks"),
        add(into, "odd/.hidden", b"a dot first"),
        add(into, "odd/many...dots", b"dots"),
        add(into, "odd/'\"$(id)`&|<>%{}[]!#^=,@~+", b"every shell's favourites"),
        *(add(into, f"many/{'p' * 40}{number}", b"%d" % number * 700) for number in range(300)),
        *(add(into, f"folders/{number:03}/file", b"%d" % number) for number in range(100)),
        *(add(into, path, path.encode()) for path in sorted(pool)),
        tree.Link("images/latest", "b/blob"),
        tree.Link("images/nowhere", "b/missing"),
        tree.Link("case/up", "../images/a"),
        tree.Link("long-target", "/".join(["long"] * 40)),
    ]


Seen = dict[str, tuple[int, str]]
"""Path → mode with type, and the digest of a file or the target of a link."""


def expected(contents: tree.Tree) -> Seen:
    """What a reader of Rock Ridge must see."""
    seen: Seen = {path: (stat.S_IFDIR | tree.DIRECTORY_MODE, "") for path in contents.directories()}
    for entry in contents:
        if isinstance(entry, tree.File):
            seen[entry.path] = (stat.S_IFREG | entry.mode, entry.content.digest.hex)
        else:
            seen[entry.path] = (stat.S_IFLNK | 0o777, entry.target)
    return seen


def add_sparse(into: store.Store, path: str, size: int) -> tree.File:
    """A file of zeros that takes no room, with its true digest."""
    made = into.root / "sparse"
    made.parent.mkdir(parents=True, exist_ok=True)
    with made.open("wb") as stream:
        stream.truncate(size)
    with made.open("rb") as stream:
        content = digest.Descriptor(digest.Digest.of_file(stream), size)
    into.adopt(made, content)
    return tree.File(path, content)


def read(image: pathlib.Path) -> dict[str, Found]:
    """Everything below the root, and the root as the empty path."""
    opened = pycdlib.PyCdlib()
    opened.open(str(image))
    try:
        root = opened.pvd.root_directory_record()
        found = {path: _found(opened, record) for path, record in _walk(root, "")}
        found[""] = _found(opened, root.children[0])
        return found
    finally:
        opened.close()


def read_joliet(image: pathlib.Path) -> dict[str, bytes]:
    """The files that Joliet shows."""
    opened = pycdlib.PyCdlib()
    opened.open(str(image))
    try:
        return {
            f"{directory}/{name}".strip("/"): _content(opened, joliet_path=f"{directory}/{name}".replace("//", "/"))
            for directory, _, names in opened.walk(joliet_path="/")
            for name in names
        }
    finally:
        opened.close()


Place = tuple[int, int]
"""Block and length of a directory."""


def parents(directory: dr.DirectoryRecord) -> Iterator[tuple[Place, Place]]:
    """For every directory below: where its parent is, and where its own record of the parent says so."""
    for record in directory.children[2:]:
        if record.is_dir():
            yield _place(directory), _place(record.children[1])
            yield from parents(record)


def _place(record: dr.DirectoryRecord) -> Place:
    return record.extent_location(), record.get_data_length()


def _walk(directory: dr.DirectoryRecord, prefix: str) -> Iterator[tuple[str, dr.DirectoryRecord]]:
    for record in directory.children[2:]:
        assert record.rock_ridge is not None
        path = prefix + record.rock_ridge.name().decode()
        yield path, record
        if record.is_dir():
            yield from _walk(record, f"{path}/")


def _found(opened: pycdlib.PyCdlib, record: dr.DirectoryRecord) -> Found:
    extension = record.rock_ridge
    assert extension is not None
    areas = [area for area in (extension.dr_entries, extension.ce_entries) if area]
    attributes = next(area.px_record for area in areas if area.px_record)
    assert (attributes.posix_user_id, attributes.posix_group_id) == (0, 0)
    times = next(area.tf_record for area in areas if area.tf_record)
    assert times.modification_time is not None
    assert record.date is not None
    assert times.modification_time.record() == record.date.record()
    content: bytes | str = b""
    if record.is_symlink():
        content = extension.symlink_path().decode()
    elif record.is_file():
        content = _content(opened, iso_path=opened.full_path_from_dirrecord(record))
    return Found(
        attributes.posix_file_mode,
        attributes.posix_file_links,
        content,
        record.extent_location(),
        record.file_identifier().decode(),
        tuple(record.date.record()),
    )


def _content(opened: pycdlib.PyCdlib, **path: str) -> bytes:
    stream = io.BytesIO()
    opened.get_file_from_iso_fp(stream, **path)
    return stream.getvalue()
