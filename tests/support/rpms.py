"""Small real RPMs made by rpmbuild, an archive of them on loopback, and a machine that installs them with dnf.

The archive is written by the other side's tools: rpmsign signs its packages, createrepo_c indexes them, gpg signs that.
"""

import dataclasses
import functools
import http.server
import pathlib
import shutil
import tempfile
import threading
import typing
from collections.abc import Sequence

from buildchain import command
from tests.support import offline, openpgp

DATE = 1_700_000_000
_SPEC = """\
Name: {name}
Version: {version}
Release: {release}
Summary: package {name} of a test
License: {licence}
URL: http://example.test/?a=1&b=2
{lines}
%description
A text for {name}: <ünïcode> & more.
%install
mkdir -p %{{buildroot}}/usr/share/doc/{name}
{install}
%files
/usr/share/doc/{name}
{files}
%changelog
* Tue Nov 14 2023 Tester <t@example.test> - {version}-{release}
- made
"""


@dataclasses.dataclass(frozen=True)
class Rpm:
    """A package; `extra` are more lines of its spec's head, `files` are made as empty programs."""

    name: str
    version: str = "1.0-1.el9"
    architecture: str = "noarch"
    requires: Sequence[str] = ()
    provides: Sequence[str] = ()
    extra: Sequence[str] = ()
    files: Sequence[str] = ()
    epoch: int = 0
    licence: str = "MIT"

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.{self.architecture}.rpm"

    @property
    def spec(self) -> str:
        version, release = self.version.rsplit("-", 1)
        lines = [f"Epoch: {self.epoch}"] * bool(self.epoch) + [f"Requires: {each}" for each in self.requires]
        lines += [*(f"Provides: {each}" for each in self.provides), *self.extra]
        root = "%{buildroot}"
        install = "\n".join(f"install -D -m 755 /dev/null '{root}{each}'" for each in self.files)
        return _SPEC.format(
            name=self.name,
            version=version,
            release=release,
            licence=self.licence,
            lines="\n".join(lines),
            install=install,
            files="\n".join(self.files),
        )

    def content(self) -> bytes:
        """The unsigned .rpm file."""
        return build(self)[self.file_name]


def build_many(count: int) -> list[bytes]:
    """Many small packages, each needing another one, out of one spec: a tenth of the time that as many specs take."""
    parts = [Rpm("package").spec.replace("%description", "BuildArch: noarch\nAutoReqProv: no\n%description", 1)]
    for number in range(1, count):
        name = f"package-{number:05}"
        needed = f"package-{number // 2:05}" if number > 1 else "package"
        parts.append(f"%package -n {name}\nSummary: {name}\nAutoReqProv: no\nRequires: {needed}\n")
        parts.append(f"%description -n {name}\nA longer text.\n%files -n {name}\n/usr/share/doc/package\n")
    files = {f"package-{number:05}-1.0-1.el9.noarch.rpm" for number in range(1, count)}
    made = _build(
        (("package-1.0-1.el9.noarch.rpm", "noarch", "".join(parts)), *((name, "", "") for name in sorted(files)))
    )
    return list(made.values())


@functools.lru_cache(maxsize=512)
def _build(packages: tuple[tuple[str, str, str], ...]) -> dict[str, bytes]:
    """Files by name, of names, architectures and specs; a spec may make more than one of them."""
    macros = {
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "_buildhost": "build.invalid",
        "_binary_payload": "w1.gzdio",
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "__os_install_post": "%{nil}",
    }
    with tempfile.TemporaryDirectory(prefix="rpm-") as directory:
        top = pathlib.Path(directory)
        for architecture in {architecture for _, architecture, _ in packages if architecture}:
            specs: list[pathlib.Path] = []
            for number, (_, of, spec) in enumerate(packages):
                if of == architecture:
                    specs.append(top / f"{number}.spec")
                    specs[-1].write_text(spec, encoding="utf-8")
            defined = [f"-D{name} {value}" for name, value in ({"_topdir": str(top)} | macros).items()]
            argv: list[command.Argument] = [
                "rpmbuild",
                "-bb",
                "--quiet",
                f"--dbpath={top}/db",
                f"--target={architecture}",
                *defined,
                *specs,
            ]
            command.run(argv, environment={"SOURCE_DATE_EPOCH": str(DATE), "HOME": directory})
        return {name: (top / "RPMS" / name).read_bytes() for name, _, _ in packages}


def build(*packages: Rpm) -> dict[str, bytes]:
    """Unsigned .rpm files by file name, made in one go."""
    return _build(tuple((each.file_name, each.architecture, each.spec) for each in packages))


def build_source(package: Rpm, folder: pathlib.Path) -> pathlib.Path:
    """The unsigned source package of a package, as a file of a folder."""
    spec = folder / f"{package.name}.spec"
    spec.write_text(package.spec, encoding="utf-8")
    macros = {"_topdir": f"{folder}/top", "_srcrpmdir": str(folder)}
    options = [f"-D{name} {value}" for name, value in macros.items()]
    command.run(["rpmbuild", "-bs", "--quiet", f"--dbpath={folder}/db", *options, spec])
    return folder / f"{package.name}-{package.version}.src.rpm"


def sign(paths: Sequence[pathlib.Path], home: openpgp.Home, key: str, moment: str = openpgp.MOMENT) -> None:
    """Sign files in place with rpmsign."""
    macros = {
        "_gpg_path": str(home.path),
        "__gpg": shutil.which("gpg") or "",
        "_gpg_name": key,
        "_gpg_digest_algo": "sha256",
        "_gpg_sign_cmd_extra_args": f"--batch --pinentry-mode loopback --passphrase '' --faked-system-time {moment}!",
    }
    command.run(["rpmsign", "--addsign", *(f"-D{name} {value}" for name, value in macros.items()), *paths])


class Archive:
    """An archive, served while the `with` block lasts; `published` is the folder that holds it."""

    def __init__(self, root: pathlib.Path, home: openpgp.Home, key: str) -> None:
        self.root = root
        self.home = home
        self.key = key
        self.pool = root / "pool"
        self.pool.mkdir(parents=True)
        handler = functools.partial(_Handler, directory=str(root))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def repodata(self) -> pathlib.Path:
        return self.root / "repodata"

    def __enter__(self) -> typing.Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def key_file(self, *keys: str) -> pathlib.Path:
        """The public keys in a file."""
        path = self.root.with_name(f"{self.root.name}-{'-'.join(keys or (self.key,))[:60]}.asc")
        path.write_bytes(b"".join(self.home.public(key) for key in keys or (self.key,)))
        return path

    def add(self, *packages: Rpm, key: str | None = None) -> None:
        """Put packages into the pool, signed by `key` or the archive's own; an empty key signs nothing."""
        paths = []
        for name, content in build(*packages).items():
            paths.append(self.pool / name)
            paths[-1].write_bytes(content)
        if key is None or key:
            sign(paths, self.home, key or self.key)

    def publish(
        self, *, date: int = DATE, key: str | None = None, modules: str = "", options: Sequence[str] = ()
    ) -> None:
        """Index what is in the pool; an empty key signs nothing."""
        argv = ["createrepo_c", "-q", "--no-database", "--revision", str(date), "--set-timestamp-to-revision", *options]
        command.run([*argv, self.root])
        if modules:
            path = self.root / "modules.yaml"
            path.write_text(modules)
            command.run(["modifyrepo_c", "--mdtype=modules", path, self.repodata])
        if key is None or key:
            self.sign(key or self.key)

    def sign(self, key: str) -> None:
        """Sign the repomd.xml as it stands."""
        content = (self.repodata / "repomd.xml").read_bytes()
        signature = self.home.run("--armor", "--local-user", key, "--detach-sign", stdin=content)
        (self.repodata / "repomd.xml.asc").write_bytes(signature)


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def base(folder: pathlib.Path, *packages: Rpm) -> list[str]:
    """Options with which dnf knows what stands for a host's own repositories, which nobody signed."""
    folder.mkdir(parents=True)
    for name, content in build(*packages).items():
        (folder / name).write_bytes(content)
    command.run(["createrepo_c", "-q", folder])
    return [f"--repofrompath=base,{folder}", "--setopt=base.gpgcheck=0", "--setopt=base.repo_gpgcheck=0"]


@dataclasses.dataclass(frozen=True)
class Client:
    """A machine without network that knows the repositories below a folder, and checks both signatures.

    `keys` are the names of the key files in each repository.
    """

    root: pathlib.Path
    served: pathlib.Path
    repositories: Sequence[str]
    keys: Sequence[str]
    is_http: bool = True

    def dnf(self, *arguments: str) -> str:
        """Run dnf in a name space of its own: what it leaves running ends with it."""
        configuration = self.root / "yum.repos.d"
        configuration.mkdir(parents=True, exist_ok=True)
        (self.root / "log").mkdir(exist_ok=True)
        (self.root / "dnf.conf").write_text("[main]\n")
        for name in self.repositories:
            (configuration / f"{pathlib.PurePath(name).name}.repo").write_text(self._stanza(name))
        options: dict[str, str | pathlib.Path] = {
            "reposdir": configuration,
            "cachedir": self.root / "cache",
            "persistdir": self.root / "persist",
        }
        options |= {"logdir": self.root / "log", "keepcache": "0", "install_weak_deps": "0"}
        argv = ["dnf", "-q", "-y", f"--config={self.root}/dnf.conf", "--disableplugin=local", "--releasever=9"]
        argv += [f"--installroot={self.root}/root", "--forcearch=x86_64"]
        argv += [f"--setopt={name}={value}" for name, value in options.items()]
        return command.run([*offline.argv(self.served, is_root=False), *argv, *arguments]).decode()

    def installed(self) -> list[str]:
        """NAME-EPOCH:VERSION-RELEASE.ARCHITECTURE of what is installed."""
        argv = ["rpm", f"--root={self.root}/root", "-qa", "--qf", "%{nevra}\\n"]
        found = command.run(argv).decode().splitlines()
        return sorted(line for line in found if not line.startswith("gpg-pubkey"))

    def _stanza(self, name: str) -> str:
        base = f"{offline.URL}/{name}" if self.is_http else f"file://{self.served}/{name}"
        keys = " ".join(f"file://{self.served}/{name}/{key}" for key in self.keys)
        return (
            f"[{pathlib.PurePath(name).name}]\nname={name}\nbaseurl={base}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n"
            f"gpgkey={keys}\n"
        )
