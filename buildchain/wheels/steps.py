"""The step that makes an environment: wheels unpacked, source distributions built with them, all packed as one archive.

Nothing is compiled: a source distribution that holds C code fails here, since the C library of the room is not that
of all hosts. What the archive holds is at home in any folder: no file knows where it stands.
"""

from collections.abc import Iterable, Sequence

from buildchain import digest, executor, lock, store, tree

OUT = "out"

NEEDS = ("gzip", "python3", "python3-pip", "tar")
"""Debian packages of the room beside the tools of every build."""

SITE = "lib/python3.11/site-packages"

_SCRIPT = f"""\
export PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
site=/build/root/{SITE}
mkdir -p "$site" wheels built {OUT}
pip() {{ python3 -m pip --quiet "$@"; }}
put() {{
    pip install --no-index --no-deps --no-compile --no-warn-script-location --target "$site" "$@"
    rm -rf "$site/bin" "$site/share"
}}
put wheels/*.whl
for sdist in sdists/*; do
    [ -f "$sdist" ] || continue
    PYTHONPATH=$site pip wheel --no-index --no-deps --no-build-isolation --wheel-dir built "$sdist"
done
for wheel in built/*.whl; do
    case $wheel in
    *-none-any.whl) put "$wheel" ;;
    'built/*.whl') ;;
    *) echo "$wheel holds compiled code" >&2; exit 1 ;;
    esac
done
python3 check.py "$site" "$@"
python3 trim.py "$site"
find "$site" -name '*.so*' -type f -exec readelf --wide --dynamic {{}} + > dynamic
if grep -E '[(](RPATH|RUNPATH)[)]' dynamic | grep -vE '[[][$]ORIGIN[^:]*[]]'; then
    echo 'these libraries look for others in a fixed folder' >&2
    exit 1
fi
python3 -m compileall -q --invalidation-mode checked-hash -j 1 -s /build/root "$site"
find root -type f -exec chmod 644 {{}} +
find root -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {{}} +
tar --create --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --directory root \\
    lib | gzip --no-name -6 > {OUT}/environment.tar.gz
"""
# The hash of its source in a compiled file, and not the time: a copy with other times is as fast (PEP 552).

_CHECK = b'''\
"""Each requirement of each distribution is there, but for those that are left out on purpose."""
import sys
from importlib import metadata

from pip._vendor.packaging import requirements, utils

site, *left_out = sys.argv[1:]
held = {utils.canonicalize_name(each.metadata["Name"]): each for each in metadata.distributions(path=[site])}
problems = []
for name, each in sorted(held.items()):
    for line in each.requires or ():
        wanted = requirements.Requirement(line)
        project = utils.canonicalize_name(wanted.name)
        if project in left_out or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        if project not in held or not wanted.specifier.contains(held[project].version, prereleases=True):
            problems.append(f"{name} wants {line}")
sys.exit("\\n".join(problems) or 0)
'''

_TRIM = b'''\
"""Take away what nobody runs: tests, headers, records of the installer."""
import pathlib
import shutil
import sys

site = pathlib.Path(sys.argv[1])
for path in sorted(site.rglob("*"), reverse=True):
    inside = path.relative_to(site).parts
    if path.is_dir() and path.name in ("tests", "test", "SelfTest", "include") and len(inside) == 2:
        shutil.rmtree(path)
    elif path.is_dir() and path.name == "__pycache__":
        shutil.rmtree(path)
    elif path.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json") and path.parent.suffix == ".dist-info":
        path.unlink()
'''


def environment(
    name: str,
    files: Sequence[lock.File],
    left_out: Iterable[str],
    room: digest.Descriptor,
    source: store.Store,
    *,
    epoch: int,
) -> executor.Action:
    """The step that puts locked files together; it leaves `out/environment.tar.gz`.

    Arguments:
        left_out: projects that something asks for and that shall be missing.
        room:     a layer that holds NEEDS.
        epoch:    time of every file.
    """
    entries = [tree.File(_path(each), each.content) for each in files]
    entries += [tree.File(path, source.add_bytes(text)) for path, text in (("check.py", _CHECK), ("trim.py", _TRIM))]
    return executor.Action(
        name=f"{name} environment",
        argv=("sh", "-euc", _SCRIPT, "sh", *sorted(left_out)),
        root=(room,),
        inputs=tree.build(entries),
        outputs=(f"{OUT}/environment.tar.gz",),
        environment={"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"},
    )


def _path(file: lock.File) -> str:
    """Where a file stands among the inputs: a tree carries no such long names as the platforms of some wheels make."""
    if not file.is_wheel:
        return f"sdists/{file.name}"
    head, _, platform = file.name.removesuffix(".whl").rpartition("-")
    return f"wheels/{head}-{platform if platform == 'any' else 'linux_x86_64'}.whl"
