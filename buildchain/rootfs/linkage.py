"""Judge whether what a root file system ships can start: libraries, loaders and interpreters are all there.

The rule is that of ld.so(8) without a cache: RPATH or RUNPATH, LD_LIBRARY_PATH of the image, the built-in directories.
`/etc/ld.so.conf` has no say, since only ldconfig reads it. Libraries opened by name at run time (dlopen(3)) cannot be
seen from outside.
"""

import dataclasses
import pathlib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from buildchain.rootfs import entries, spool

_MACHINES = {"amd64": "EM_X86_64", "arm64": "EM_AARCH64"}
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}

_DAMAGED = Exception
"""What reading a damaged ELF file raises: the parser trusts its input, so it can be anything."""

_MAX_LINKS = 40
"""Links the kernel follows for one path: MAXSYMLINKS of linux/namei.h."""

_MAX_INTERPRETER_LINE = 256
"""BINPRM_BUF_SIZE of linux/binfmts.h."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Missing:
    """A file that cannot start (or be loaded), and the library or program it needs."""

    path: str
    needs: str
    origin: str


def missing(root: entries.Rootfs, contents: spool.Spool, architecture: str, library_path: str = "") -> list[Missing]:
    """Everything that something shipped needs and that is not shipped, sorted.

    Arguments:
        library_path: LD_LIBRARY_PATH of the image, or empty.
    """
    return sorted(_Judge(root, contents, architecture, library_path).faults())


class _Judge:
    """A root file system with an index of the libraries in it."""

    def __init__(self, root: entries.Rootfs, contents: spool.Spool, architecture: str, library_path: str) -> None:
        triplet = _TRIPLETS[architecture]
        self._by_path = root.by_path()
        self._contents = contents
        directories = [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib", "/usr/lib", "/lib64", "/usr/lib64"]
        self._directories = [*filter(None, library_path.split(":")), *directories]
        self._machine = _MACHINES[architecture]
        self._tokens = {"LIB": f"lib/{triplet}", "PLATFORM": _PLATFORMS[architecture]}
        self._machines: dict[str, str] = {}

    def faults(self) -> Iterator[Missing]:
        for entry in self._by_path.values():
            if isinstance(entry, entries.File):
                yield from (Missing(entry.path, need, entry.origin) for need in self._unmet(entry))

    def _unmet(self, entry: entries.File) -> Iterator[str]:
        with self._contents.open(entry.content) as stream:
            start = stream.read(_MAX_INTERPRETER_LINE)
            stream.seek(0)
            if start.startswith(b"\x7fELF"):
                yield from self._unmet_by_elf(entry.path, stream)
            elif start.startswith(b"#!") and entry.attributes.mode & 0o111:
                yield from self._unmet_by_script(start)

    def _unmet_by_script(self, start: bytes) -> Iterator[str]:
        words = start[2:].split(b"\n")[0].decode(errors="replace").split()
        if not words:
            return
        if self.resolve(words[0]) is None:
            yield words[0]
        elif words[0].endswith("/env"):
            program = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
            places = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
            if program and not any(self.resolve(f"{place}/{program}") for place in places):
                yield program

    def _unmet_by_elf(self, path: str, stream: typing.BinaryIO) -> Iterator[str]:
        try:
            elf = _read_elf(stream)
            if elf["e_type"] not in {"ET_EXEC", "ET_DYN"}:
                return
            if elf["e_machine"] != self._machine:
                yield f"a machine of type {elf['e_machine']}"
                return
            for segment in elf.iter_segments("PT_INTERP"):
                loader = segment.get_interp_name()
                if self.resolve(loader) is None:
                    yield loader
            for segment in elf.iter_segments("PT_DYNAMIC"):
                yield from self._unmet_libraries(path, segment)
        except _DAMAGED as error:
            yield f"a sound ELF header ({type(error).__name__}: {error})"

    def _unmet_libraries(self, path: str, segment: typing.Any) -> Iterator[str]:
        tags = list(segment.iter_tags())
        own = [tag.runpath for tag in tags if tag.entry.d_tag == "DT_RUNPATH"]
        own = own or [tag.rpath for tag in tags if tag.entry.d_tag == "DT_RPATH"]
        directories = [*self._expanded(":".join(own), path), *self._directories]
        for tag in tags:
            if tag.entry.d_tag == "DT_NEEDED" and not self._has_library(tag.needed, directories):
                yield tag.needed

    def _expanded(self, search_path: str, path: str) -> Iterator[str]:
        tokens = {**self._tokens, "ORIGIN": f"/{pathlib.PurePosixPath(path).parent}"}
        for directory in filter(None, search_path.split(":")):
            for name, value in tokens.items():
                directory = directory.replace(f"${{{name}}}", value).replace(f"${name}", value)
            yield directory

    def _has_library(self, name: str, directories: Sequence[str]) -> bool:
        candidates = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in directories]
        found = filter(None, map(self.resolve, candidates))
        return any(self._machine_of(entry) == self._machine for entry in found)

    def _machine_of(self, entry: entries.File) -> str:
        if entry.path not in self._machines:
            with self._contents.open(entry.content) as stream:
                try:
                    machine = _read_elf(stream)["e_machine"]
                except _DAMAGED:
                    machine = ""
            self._machines[entry.path] = machine
        return self._machines[entry.path]

    def resolve(self, path: str) -> entries.File | None:
        """The file an absolute path leads to, through links."""
        return resolve(self._by_path, path)


def _read_elf(stream: typing.BinaryIO) -> typing.Any:
    # Imported here: a run without changes checks nothing, and need not wait for it.
    from elftools.elf import elffile

    return elffile.ELFFile(stream)


def resolve(by_path: Mapping[str, entries.Entry], path: str) -> entries.File | None:
    """The file an absolute path leads to, through links, or nothing."""
    entry = follow(by_path, path)
    return entry if isinstance(entry, entries.File) else None


def follow(by_path: Mapping[str, entries.Entry], path: str) -> entries.Entry | None:
    """What an absolute path leads to, through links, or nothing."""
    waiting = [name for name in reversed(path.split("/")) if name not in {"", "."}]
    at: list[str] = []
    links = 0
    entry: entries.Entry | None = None
    while waiting:
        name = waiting.pop()
        if name == "..":
            at = at[:-1]
            continue
        entry = by_path.get("/".join([*at, name]))
        if isinstance(entry, entries.Link):
            links += 1
            at = [] if entry.target.startswith("/") else at
            waiting += [part for part in reversed(entry.target.split("/")) if part not in {"", "."}]
            if links > _MAX_LINKS:
                return None
        elif entry is None:
            return None
        else:
            at.append(name)
    return by_path.get("/".join(at))


def describe(
    faults: Iterable[Missing], dependencies: Mapping[str, Sequence[str]], without: Collection[str]
) -> list[str]:
    """One line a fault, with the dropped packages that most likely held what is missing.

    Arguments:
        dependencies: names each package depends on, by the origin of its files.
        without:      packages that the recipe drops.
    """
    lines = []
    for fault in faults:
        dropped = [name for name in dependencies.get(fault.origin, ()) if name in without]
        why = f"; {fault.origin} depends on {' and '.join(dropped)}, which `without` drops" if dropped else ""
        lines.append(f"/{fault.path} needs {fault.needs}, which is not shipped{why}")
    return lines
