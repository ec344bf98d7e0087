"""Tasks for machines to try the distribution on."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Callable

from buildchain import box, command, development, disk, errors, manifest, mirrors, settings
from buildchain.tasks import action, context, packaging

_FOLDER = ".vagrant"
_VALUES = "metalk8s.json"
_TREE = "development"
_BOOTSTRAP = "bootstrap"
_DOCKER = "docker"
_LIBVIRT = "libvirt"
_KVM = pathlib.Path("/dev/kvm")
_PLANES = ("172.21.254.0/28", "172.21.254.32/27")
"""The networks of MetalK8s 2.5.1's Vagrantfile: control plane, workload plane."""
_INSTALL_HINT = "Install vagrant (apt-get install vagrant), or name it in VAGRANT_BIN."


def task_vagrant_box() -> action.Task:
    """Make the box, a minimal Debian: an image for the docker daemon, or for vagrant's libvirt a disk."""
    here = context.load()
    is_disk = here.settings.vagrant_provider == _LIBVIRT
    target = _boxes(here)[is_disk]
    public = _public(key_of(here.settings.root / _FOLDER))
    make = action.run(_disk_box, here, target) if is_disk else action.run(_box, here, target)
    return {
        "title": action.title("BOX", target),
        "actions": [make],
        # Not the whole medium: an edited formula makes no other box.
        "file_dep": [*_made_of(here), *([public] if is_disk else [])],
        "targets": [target],
        "task_dep": ["populate_iso", "_vagrant_key"],
        "verbosity": 2,
    }


def task_vagrant_up() -> action.Task:
    """Start a machine with vagrant and make it a bootstrap node, from a tree that can be edited."""
    here = context.load()
    wanted = here.settings
    needs = ["_vagrant_tree", "_vagrant_snapshot"]
    return {
        "title": action.title("VAGRANT UP", _BOOTSTRAP),
        "actions": [action.run(_vagrant, wanted, "up", *wanted.vagrant_up_args)],
        "task_dep": needs,
        "uptodate": [False],
        "clean": removal(here),
        "verbosity": 2,
    }


def task_vagrant_restore() -> action.Task:
    """Take the bootstrap node back to the snapshot made before it was installed."""
    wanted = context.load().settings
    return {
        "title": action.title("VAGRANT RESTORE", _BOOTSTRAP),
        "actions": [action.run(_restore, wanted)],
        "uptodate": [False],
        "verbosity": 2,
    }


def task__vagrant_tree() -> action.Task:
    """Make the development tree, the key of the nodes, and what the Vagrantfile reads."""
    here = context.load()
    tree = here.build_root / _TREE
    has_box = here.settings.vagrant_provider in (_DOCKER, _LIBVIRT)
    return {
        "title": action.title("DEVELOPMENT", tree),
        "actions": [action.run(_prepare, here, tree)],
        "task_dep": ["_vagrant_key", "vagrant_box" if has_box else "populate_iso"],
        "uptodate": [False],
    }


def task__vagrant_key() -> action.Task:
    """Make the key that opens every machine, once."""
    key = key_of(context.load().settings.root / _FOLDER)
    return {
        "title": action.title("SSH KEY", key),
        "actions": [action.run(make_key, key)],
        "targets": [key, _public(key)],
        "uptodate": [True],
    }


def task__vagrant_snapshot() -> action.Task:
    """Start the machine without installing anything, and keep that state, once; docker has no snapshots."""
    wanted = context.load().settings
    return {
        "title": action.title("SNAPSHOT", wanted.vagrant_snapshot_name),
        "actions": [action.run(_snapshot, wanted)],
        "task_dep": ["_vagrant_tree"],
        "uptodate": [False],
        "verbosity": 2,
    }


def removal(here: context.Context) -> list[Callable[[bool], None]]:
    """What `clean` does about machines, and about all that was made for them."""
    folder = here.settings.root / _FOLDER
    key = key_of(folder)
    made = [*_boxes(here), here.build_root / _TREE, folder / _VALUES, key, _public(key)]
    return [_destruction(here.settings), *action.removal(*made)]


def key_of(folder: pathlib.Path) -> pathlib.Path:
    """The private key that opens every machine."""
    return folder / "preshared_key_for_k8s_nodes"


def debian(here: context.Context) -> list[str]:
    """The archives of DEBs that the intent names, as lines of sources.list(5)."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    lines = []
    for each in here.manifest.archives.values():
        if each.type == manifest.DEB:
            keys = ",".join(map(str, each.keys))
            lines.append(" ".join([f"deb [signed-by={keys}]", found.address(each), each.suite, *each.components]))
    return lines


def make_key(key: pathlib.Path) -> None:
    """Make a key and its public half, unless it is there."""
    if not key.exists():
        key.parent.mkdir(exist_ok=True)
        command.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-C", "doit", "-f", key])


@dataclasses.dataclass(frozen=True)
class Machines:
    """What the Vagrantfile is told, beside where things are."""

    version: str
    planes: tuple[str, str] = _PLANES
    libvirt_box: str = ""
    libvirt_driver: str = "qemu"


def prepare(checkout: pathlib.Path, staged: pathlib.Path, tree: pathlib.Path, machines: Machines) -> None:
    """Make all that the Vagrantfile needs: the development tree, a key, and `.vagrant/metalk8s.json`."""
    development.build(checkout, staged, tree)
    folder = checkout / _FOLDER
    make_key(key_of(folder))
    values = {
        **dataclasses.asdict(machines),
        "tree": str(tree),
        "staged": str(staged),
        "edited": development.EDITED,
        "key": str(key_of(folder)),
        "docker_box": box.image_name(machines.version),
        "run_options": box.RUN_OPTIONS,
    }
    action.write(folder / _VALUES, (json.dumps(values, indent=2) + "\n").encode())


def _prepare(here: context.Context, tree: pathlib.Path) -> None:
    name = _disk_name(here) if here.settings.vagrant_provider == _LIBVIRT else ""
    driver = here.settings.vagrant_libvirt_driver
    if driver == settings.DRIVERS[0]:
        driver = "kvm" if _KVM.exists() else "qemu"
    machines = Machines(str(here.version), libvirt_box=name, libvirt_driver=driver)
    prepare(here.settings.root, here.staged_root, tree, machines)


def _made_of(here: context.Context) -> list[pathlib.Path]:
    """The parts of the medium that a box is made of."""
    return [here.fragment(name) for name in packaging.fragments(here)]


def _boxes(here: context.Context) -> tuple[pathlib.Path, pathlib.Path]:
    """For docker, and for libvirt."""
    return here.build_root / "box.tar", here.build_root / "box.libvirt"


def _public(key: pathlib.Path) -> pathlib.Path:
    return key.with_suffix(".pub")


def _box(here: context.Context, target: pathlib.Path) -> None:
    name = box.image_name(str(here.version))
    box.build(here.staged_root, target)
    box.load(target, name)
    sys.stdout.write(f"   docker image {name}\n")


def _disk_box(here: context.Context, target: pathlib.Path) -> None:
    raw = target.with_name("box.img")
    authorized = _public(key_of(here.settings.root / _FOLDER)).read_text().strip()
    try:
        disk.build(here.staged_root, debian(here), authorized, raw)
        disk.pack(raw, target)
    finally:
        raw.unlink(missing_ok=True)
    name = _disk_name(here)
    _vagrant(here.settings, "box", "add", "--force", "--provider", _LIBVIRT, "--name", name, str(target))
    sys.stdout.write(f"   vagrant box {name}\n")


def _disk_name(here: context.Context) -> str:
    """Another name for another content: libvirt keeps what it once was given under a name."""
    made_of = [*_made_of(here), _public(key_of(here.settings.root / _FOLDER)), pathlib.Path(disk.__file__)]
    content = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()
    return f"{box.image_name(str(here.version)).replace(':', '-')}-{content[:12]}"


def _vagrant(wanted: settings.Settings, *arguments: str) -> None:
    environment = {"VAGRANT_CWD": str(wanted.root), "VAGRANT_DEFAULT_PROVIDER": wanted.vagrant_provider}
    command.call([wanted.vagrant, *arguments], environment=environment, hint=_INSTALL_HINT)


def _snapshot(wanted: settings.Settings) -> None:
    if wanted.vagrant_provider == _DOCKER or _has_snapshot(wanted):
        return
    arguments = [each for each in wanted.vagrant_up_args if each != "--provision"]
    _vagrant(wanted, "up", *arguments, "--no-provision", _BOOTSTRAP)
    _vagrant(wanted, "halt", _BOOTSTRAP)
    _vagrant(wanted, "snapshot", "save", "--force", _BOOTSTRAP, wanted.vagrant_snapshot_name)


def _has_snapshot(wanted: settings.Settings) -> bool:
    try:
        listed = command.run([wanted.vagrant, "snapshot", "list", _BOOTSTRAP], directory=wanted.root, is_users_own=True)
    except errors.ToolError:
        return False
    return wanted.vagrant_snapshot_name in listed.decode(errors="replace").split()


def _restore(wanted: settings.Settings) -> None:
    if wanted.vagrant_provider == _DOCKER:
        why = "vagrant's provider docker keeps none"
        raise errors.BuildchainError("snapshots", why, "Make the machine anew: ./doit.sh clean vagrant_up vagrant_up")
    _vagrant(wanted, "snapshot", "restore", _BOOTSTRAP, wanted.vagrant_snapshot_name)


def _destruction(wanted: settings.Settings) -> Callable[[bool], None]:
    """Clean: all machines, if vagrant has made any."""

    def destroy(dryrun: bool) -> None:
        made = list((wanted.root / _FOLDER / "machines").glob("*/*/id"))
        if made:
            sys.stdout.write(f"destroying {len(made)} machine(s) of vagrant\n")
        if made and not dryrun:
            _vagrant(wanted, "destroy", "--force")

    return destroy
