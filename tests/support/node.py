"""A Debian host for tests: a root made from Debian packages, with a network of its own that leads nowhere, and Salt.

systemd does not run in it, but systemctl does: in a chroot it enables units and takes them all for running.
What costs minutes (Salt and the root) is made once and kept in the user's cache, by the digest of what it is made of.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

from buildchain import command, mirrors

ROOT = pathlib.Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "salt.txt"
PYTHON = "python3.11"
"""The root's own Python runs Salt, whose libraries are installed by this one: they must be of one version."""
SUITE = "bookworm"
IP = "10.200.1.1"

_PACKAGES = ("iproute2", "nginx-light", "python3", "systemd")
_LIBRARIES = "/opt/salt"
_SETUP = """\
set -eu
read -r pid _ < /proc/self/stat
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT/upper" "$ROOT/work" "$ROOT/root"
mount -t overlay -o "lowerdir=$BASE,upperdir=$ROOT/upper,workdir=$ROOT/work" overlay "$ROOT/root"
ROOT=$ROOT/root
for folder in opt/salt srv/medium run/containerd run/systemd/system etc/metalk8s; do mkdir -p "$ROOT/$folder"; done
rm -f "$ROOT/etc/apt/sources.list" "$ROOT"/etc/apt/sources.list.d/*
mount --bind "$LIBRARIES" "$ROOT/opt/salt"
mount --bind "$MEDIUM" "$ROOT/srv/medium"
mount --bind "$RUN" "$ROOT/run/containerd"
mount -t proc proc "$ROOT/proc"
chroot "$ROOT" ip link set lo up
chroot "$ROOT" ip address add "$IP/28" dev lo
echo "$pid"
read -r _
"""
_CONFIGURATION: Mapping[str, typing.Any] = {
    "file_client": "local",
    # Of the master, were there one: where other nodes find it and what it serves.
    "interface": IP,
    "ext_pillar_first": True,
    "ext_pillar": [
        {"metalk8s": {"bootstrap_config": "/etc/metalk8s/bootstrap.yaml"}},
        {"metalk8s_solutions": {"solutions_config": "/etc/metalk8s/solutions.yaml"}},
    ],
    "log_level": "error",
    "systemd.scope": False,
}


@dataclasses.dataclass(frozen=True)
class Node:
    """A running host: where its root is in its own mount namespace, and the process that holds the namespaces."""

    _root: pathlib.Path
    holder: int
    environment: str

    @property
    def root(self) -> pathlib.Path:
        """The root as it is seen from outside."""
        return pathlib.Path(f"/proc/{self.holder}/root{self._root}")

    def argv(self, *argv: str) -> list[str]:
        """What starts a program inside."""
        enter = ["nsenter", f"--target={self.holder}", "--mount", "--net", "--pid", "--"]
        inside = [
            "env",
            "-i",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        return [*enter, "chroot", str(self._root), *inside, f"PYTHONPATH={_LIBRARIES}", *argv]

    def run(self, *argv: str) -> str:
        """Run a program inside, which must succeed."""
        return command.run(self.argv(*argv)).decode()

    def configure(self, minion: str, **grains: object) -> str:
        """Write a configuration for Salt; returns its folder."""
        folder = f"/etc/salt-of-{minion}-{grains.get('os_family', 'own')}"
        value = {
            **_CONFIGURATION,
            "id": minion,
            "grains": grains,
            "cachedir": f"/var/cache{folder.removeprefix('/etc')}",
            "saltenv": self.environment,
            "pillarenv": self.environment,
            "file_roots": {self.environment: ["/srv/medium/salt"]},
            "pillar_roots": {self.environment: ["/srv/medium/pillar"]},
        }
        path = self.root / folder.removeprefix("/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "minion").write_text(json.dumps(value))
        return folder

    def salt(self, folder: str, *arguments: str) -> typing.Any:
        """Call Salt's own program; returns what it says."""
        program = "import sys; from salt.scripts import salt_call; sys.exit(salt_call())"
        argv = ["python3", "-c", program, "--local", "--config-dir", folder, "--out=json", "--log-level=error"]
        done = subprocess.run(self.argv(*argv, *arguments), capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)["local"]

    def probe(self, folder: str, names: Sequence[str], tested: Sequence[str]) -> dict[str, typing.Any]:
        """Run the probe: compile some states, and apply others as a test."""
        report: dict[str, typing.Any] = json.loads(
            self.run("python3", "/opt/salt_probe.py", folder, *names, "--", *tested)
        )
        return report


@contextlib.contextmanager
def node(medium: pathlib.Path, run: pathlib.Path, environment: str) -> Iterator[Node]:
    """Start a host, and remove it at the end; root is needed.

    Arguments:
        medium:      stands at /srv/medium.
        run:         stands at /run/containerd.
        environment: the Salt environment of the medium.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        base, libraries = pool.submit(debian_root), pool.submit(salt_libraries)
    with tempfile.TemporaryDirectory(prefix="node-") as name:
        paths = {"BASE": base.result(), "LIBRARIES": libraries.result(), "MEDIUM": medium, "RUN": run, "ROOT": name}
        given = {**os.environ, **{key: str(path) for key, path in paths.items()}, "IP": IP}
        argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _SETUP]
        with subprocess.Popen(argv, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            try:
                made = Node(pathlib.Path(name) / "root", int(holder.stdout.readline()), environment)
                shutil.copy(pathlib.Path(__file__).parent / "salt_probe.py", made.root / "opt")
                yield made
            finally:
                holder.stdin.close()
                holder.wait(20)


def salt_libraries() -> pathlib.Path:
    """The folder with Salt and all that it imports."""
    return kept("salt", REQUIREMENTS.read_bytes(), _install_salt) / "lib" / PYTHON / "site-packages"


def debian_root() -> pathlib.Path:
    """A minimal Debian with Python and systemd's tools."""
    return kept("debian", " ".join((SUITE, *_PACKAGES)).encode(), _install_debian)


def kept(name: str, made_of: bytes, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """A folder of the cache; made under another name first, so that a half-made one is never used."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "metalk8s-tests"
    final = cache / f"{name}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    if not final.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="new-", ignore_cleanup_errors=True) as new:
            path = pathlib.Path(new) / name
            make(path)
            with contextlib.suppress(FileExistsError, OSError):
                path.rename(final)
    assert final.is_dir()
    return final


def _install_salt(target: pathlib.Path) -> None:
    command.call([PYTHON, "-m", "venv", target])
    pip: list[command.Argument] = [
        target / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
    ]
    # The list is whole, so pip need not resolve it. The user's own environment tells pip where its index is.
    command.call([*pip, "--no-deps", "--no-compile", "--require-hashes", "--requirement", REQUIREMENTS])


def _install_debian(target: pathlib.Path) -> None:
    mirror = os.environ.get("DEBIAN_MIRROR") or next(mirrors.host_sources(mirrors.APT_DIRECTORY))
    options = ["--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    command.call(["mmdebstrap", *options, SUITE, target, mirror])
