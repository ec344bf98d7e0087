"""Salt as a package of the medium, until the buildchain makes one: the same names, the same places on a host.

    requirements/salt.txt ──pip──▶ /opt/saltstack/salt ──dpkg-deb──▶ salt-minion.deb ──▶ packages/debian/metalk8s-salt

It is made once and kept in the user's cache, by the digest of what it is made of.
"""

import pathlib
import shutil

from buildchain import command, deb, lock, signing, store, tree
from tests.support import keys, node

REPOSITORY = "salt"
VERSION = "3008.3-1"

_HOME = "opt/saltstack/salt"
_CONTROL = f"""\
Package: salt-minion
Version: {VERSION}
Architecture: amd64
Maintainer: nobody <nobody@example.org>
Depends: python3 (>= 3.11), python3 (<< 3.12)
Description: Salt, as the tests need it
"""
_PROGRAM = f"""\
#!/{_HOME}/bin/python3
import sys
from salt.scripts import {{function}}
sys.exit({{function}}())
"""
_UNIT = """\
[Unit]
Description=The Salt Minion
After=network-online.target

[Service]
Type=notify
KillMode=process
ExecStart=/usr/bin/salt-minion

[Install]
WantedBy=multi-user.target
"""
_MAKER = pathlib.Path(__file__).read_bytes()


def repository(held: store.Store, epoch: int) -> tree.Tree:
    """A repository with Salt, signed by the development key, where it stands on the medium."""
    path = node.kept("salt-package", node.REQUIREMENTS.read_bytes() + _MAKER, _build) / "salt-minion.deb"
    package = lock.Package(
        "salt-minion", "amd64", VERSION, "salt", "salt", f"pool/salt-minion_{VERSION}_amd64.deb", held.add_file(path)
    )
    with signing.open_signer(signing.Source(str(keys.DEVELOPMENT / "secret.asc"))) as signer:
        made = deb.index([package], held, name=REPOSITORY, label="MetalK8s", epoch=epoch, signer=signer)
    return made.moved_to(f"packages/debian/metalk8s-{REPOSITORY}")


def _build(target: pathlib.Path) -> None:
    root = target / "root"
    home = root / _HOME
    shutil.copytree(node.salt_libraries(), home / "lib/python3.11/site-packages", symlinks=True)
    for folder in [*home.rglob("__pycache__"), *home.rglob("tests")]:
        shutil.rmtree(folder, ignore_errors=True)
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to("/usr/bin/python3.11")
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    programs = {name: _PROGRAM.format(function=name.replace("-", "_")) for name in ("salt-call", "salt-minion")}
    (root / "usr/bin").mkdir(parents=True)
    for name, text in programs.items():
        (root / "usr/bin" / name).write_text(text)
        (root / "usr/bin" / name).chmod(0o755)
    for path, text in {"DEBIAN/control": _CONTROL, "lib/systemd/system/salt-minion.service": _UNIT}.items():
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(text)
    command.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, target / "salt-minion.deb"])
    shutil.rmtree(root)
