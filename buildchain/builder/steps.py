"""The steps that make packages, as Actions: SRPM, RPM, DEB, each judged by the checker of its family.

Every step leaves packages in `out/` and what the checker found in `lint`; an error among the findings fails it.
Packages leave unsigned: no key ever enters a room.
"""

import email.utils
import re
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, executor, lock, store, tree
from buildchain.builder import recipe

OUT = "out"
LINT = "lint"

EL = ".el9"
"""%dist of the RPMs: the distribution they are for."""

MAINTAINER = "MetalK8s <metalk8s@invalid.example>"
"""Of changelog entries, which deb-changelog(5) wants and nobody reads."""

ENVIRONMENT = "environment.tar.gz"
"""The source that holds the Python environment of a recipe.

Checkers judge packages that were built with an empty one: what is in it, wheels brought (docs/decisions/0026).
"""

_EMPTY = "mkdir -p empty/lib\ntar --create --gzip --directory empty --file empty.tar.gz lib\n"

_DEB = f"""\
build() {{
    (cd "$1"; dpkg-buildpackage --build=binary --no-check-builddeps --unsigned-changes --unsigned-buildinfo)
    mkdir "$2"
    mv ./*.deb "$2"
}}
judge() {{
    lintian --allow-root --dont-check-part documentation/manual --fail-on error --tag-display-limit 0 \\
        "$1"/*.deb > {LINT} || {{ code=$?; cat {LINT}; exit $code; }}
}}
(cd src; dpkg-checkbuilddeps "$@")
"""
# documentation/manual asks man, which no room has.

_DEB_WHOLE = f"{_DEB}build src {OUT}\njudge {OUT}\n"

_DEB_BARE = f"""\
{_DEB}{_EMPTY}cp --archive src bare
mv empty.tar.gz bare/{ENVIRONMENT}
build bare judged
judge judged
build src {OUT}
"""

_RPM_DEFINES: Mapping[str, str] = {
    "_topdir": "/build/rpmbuild",
    "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
    "_dbpath": "/build/rpmdb",
    "_buildhost": "build.invalid",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    # What the rpm of the target reads: Debian's own default is no EL's.
    "_binary_payload": "w6.gzdio",
    "_source_payload": "w6.gzdio",
    "_libdir": "%{_prefix}/lib64",
    "dist": EL,
    "rhel": "9",
}

_ROOM = f"""\
mkdir -p {OUT} rpmbuild/RPMS rpmbuild/SRPMS rpmbuild/BUILD rpmbuild/BUILDROOT
rpmdb --define '_dbpath /build/rpmdb' --initdb
rpmbuild "$@" --define '_topdir /build/room' -bb --quiet room.spec
rpm --define '_dbpath /build/rpmdb' --install --justdb --nodeps room/RPMS/*.rpm
"""
# rpmbuild asks the rpm database for every BuildRequires. What this room holds came as DEBs, so one package without
# files says so there; --nodeps concerns this one alone, which requires nothing but rpm itself.

_RPM_JUDGE = f"""\
judge() {{ rpmlint --config rpmlint.toml "$@" > {LINT} || {{ code=$?; cat {LINT}; exit $code; }}; }}
"""

_SRPM = f"""\
{_ROOM}{_RPM_JUDGE}rpmbuild "$@" -bs rpmbuild/SPECS/*.spec
mv rpmbuild/SRPMS/*.src.rpm {OUT}
judge {OUT}/*.rpm
"""

_REBUILD = f"""\
rpmbuild "$@" --rebuild ./*.src.rpm
mv rpmbuild/RPMS/*.rpm {OUT}
"""

_RPM_WHOLE = f"{_ROOM}{_RPM_JUDGE}{_REBUILD}judge {OUT}/*.rpm\n"

_RPM_BARE = f"""\
{_ROOM}{_RPM_JUDGE}{_EMPTY}rpm "$@" --define '_topdir /build/bare' --install ./*.src.rpm
mv empty.tar.gz bare/SOURCES/{ENVIRONMENT}
rpmbuild "$@" --define '_topdir /build/bare' -bb bare/SPECS/*.spec
judge bare/RPMS/*.rpm
{_REBUILD}"""


def deb(
    wanted: recipe.Recipe, room: digest.Descriptor, sources: tree.Tree, source: store.Store, *, epoch: int
) -> executor.Action:
    """The step that builds and checks the DEBs of a recipe.

    Arguments:
        room:    the layer that `room.layer` made of its locked set.
        sources: all sources of the recipe, by name.
        epoch:   SOURCE_DATE_EPOCH, and the date of the changelog.
    """
    script, inputs = _DEB_BARE if wanted.requirements else _DEB_WHOLE, sources.moved_to("src")
    if wanted.dsc:
        script, inputs = f"dpkg-source --extract {wanted.dsc} src\n{script}", sources
    else:
        texts = {**wanted.debian, "changelog": _changelog(wanted, epoch)}
        inputs = tree.merge(inputs, _files("src/debian", texts, source, programs={"rules"}))
    # Who compiles nothing needs no compiler, which dpkg-checkbuilddeps would take for granted.
    options = () if wanted.compiles else ("-I",)
    return _action(wanted, "deb", script, options, room, inputs, epoch)


def srpm(
    wanted: recipe.Recipe,
    room: digest.Descriptor,
    sources: tree.Tree,
    source: store.Store,
    *,
    epoch: int,
    held: Sequence[lock.Package],
    lint: bytes,
) -> executor.Action:
    """The step that packs and checks the SRPM of a recipe.

    Arguments:
        held: the locked packages of the room.
        lint: rpmlint's configuration.
    """
    inputs = tree.merge(
        sources.moved_to("rpmbuild/SOURCES"),
        _files("rpmbuild/SPECS", {f"{wanted.name}.spec": wanted.spec}, source),
        _room_files(wanted, held, lint, source),
    )
    return _action(wanted, "srpm", _SRPM, _defines(), room, inputs, epoch)


def rpm(
    wanted: recipe.Recipe,
    room: digest.Descriptor,
    packed: tree.Tree,
    source: store.Store,
    *,
    epoch: int,
    held: Sequence[lock.Package],
    lint: bytes,
) -> executor.Action:
    """The step that builds and checks the RPMs of a recipe from its SRPM, which is all that `packed` holds."""
    inputs = tree.merge(packed, _room_files(wanted, held, lint, source))
    script = _RPM_BARE if wanted.requirements else _RPM_WHOLE
    return _action(wanted, "rpm", script, _defines(), room, inputs, epoch)


def packages(result: executor.Result) -> tree.Tree:
    """The packages that a step left, by file name."""
    prefix = f"{OUT}/"
    return tree.build(
        tree.File(path.removeprefix(prefix), content)
        for path, content in result.outputs.items()
        if path.startswith(prefix)
    )


def findings(result: executor.Result, source: store.Store) -> list[str]:
    """What the checker found, one line a finding."""
    text = source.read(result.outputs[LINT].digest).decode(errors="replace")
    return [line for line in text.splitlines() if re.match(r"[EWI]: |\S+: [EW]: ", line)]


def _action(
    wanted: recipe.Recipe,
    kind: str,
    script: str,
    options: Sequence[str],
    room: digest.Descriptor,
    inputs: tree.Tree,
    epoch: int,
) -> executor.Action:
    return executor.Action(
        name=f"{wanted.name} {kind}",
        argv=("sh", "-euc", script, "sh", *options),
        root=(room,),
        inputs=inputs,
        outputs=(OUT, LINT),
        environment={"SOURCE_DATE_EPOCH": str(epoch), "DPKG_DEB_THREADS_MAX": "1"},
    )


def _defines() -> list[str]:
    return [word for name, value in _RPM_DEFINES.items() for word in ("--define", f"{name} {value}")]


def _room_files(wanted: recipe.Recipe, held: Sequence[lock.Package], lint: bytes, source: store.Store) -> tree.Tree:
    return _files("", {"room.spec": room_spec(wanted, held), "rpmlint.toml": lint}, source)


def room_spec(wanted: recipe.Recipe, held: Iterable[lock.Package]) -> bytes:
    """A package without files that provides what the room holds, under the names that RPM knows it by."""
    versions = {each.name: _upstream(each.version) for each in held}
    names = {capability: stand_in for capability, stand_in in wanted.provides.items() if stand_in in versions}
    provided = {**{name: name for name in versions}, **names}
    lines = ["Name: room", "Version: 1", "Release: 1", "Summary: What the room holds", "License: none"]
    lines += ["BuildArch: noarch"]
    lines += [f"Provides: {name} = {versions[stand_in]}" for name, stand_in in sorted(provided.items())]
    return "\n".join([*lines, "%description", "What the room holds.", "%files", ""]).encode()


def _upstream(version: str) -> str:
    """A Debian version without epoch and revision, in the characters that RPM allows."""
    plain = version.rpartition(":")[2]
    return (plain.rpartition("-")[0] or plain).replace("-", "_")


def _changelog(wanted: recipe.Recipe, epoch: int) -> bytes:
    date = email.utils.formatdate(epoch).replace("-0000", "+0000")
    entry = f"{wanted.name} ({wanted.version}) stable; urgency=medium\n\n  * Built from {wanted.version}.\n\n"
    return f"{entry} -- {MAINTAINER}  {date}\n".encode()


def _files(
    directory: str, texts: Mapping[str, bytes], source: store.Store, programs: frozenset[str] | set[str] = frozenset()
) -> tree.Tree:
    prefix = f"{directory}/" if directory else ""
    return tree.build(
        tree.File(f"{prefix}{name}", source.add_bytes(text), name in programs) for name, text in texts.items()
    )
