"""Tasks for machines to try the distribution on."""

import json
import pathlib
import sys
from collections.abc import Callable

from buildchain import box, command, development, errors, settings
from buildchain.tasks import action, context

_FOLDER = ".vagrant"
_BOOTSTRAP = "bootstrap"
_WITHOUT_SNAPSHOTS = "docker"
_PLANES = ("172.21.254.0/28", "172.21.254.32/27")
"""The networks of MetalK8s 2.5.1's Vagrantfile: control plane, workload plane."""
_INSTALL_HINT = "Install vagrant (apt-get install vagrant), or name it in VAGRANT_BIN."


def task_vagrant_box() -> action.Task:
    """Make the box, a minimal Debian of the medium's own packages, and give it to the docker daemon."""
    here = context.load()
    root = here.build_root / "box.tar"
    medium = here.fragment("medium")
    return {
        "title": action.title("BOX", root),
        "actions": [action.run(_box, here.staged_root, root, box.image_name(str(here.version)))],
        "file_dep": [medium],
        "targets": [root],
        "task_dep": ["populate_iso"],
        "clean": action.removal(root),
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
        "clean": [_destruction(wanted)],
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
    tree = here.build_root / "development"
    folder = here.settings.root / _FOLDER
    needs = ["vagrant_box"] if here.settings.vagrant_provider == "docker" else ["populate_iso"]
    return {
        "title": action.title("DEVELOPMENT", tree),
        "actions": [
            action.run(prepare, here.settings.root, here.staged_root, tree, str(here.version)),
        ],
        "task_dep": needs,
        "uptodate": [False],
        "clean": action.removal(tree, folder / "metalk8s.json", key_of(folder), key_of(folder).with_suffix(".pub")),
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


def key_of(folder: pathlib.Path) -> pathlib.Path:
    """The private key that opens every machine."""
    return folder / "preshared_key_for_k8s_nodes"


def prepare(
    checkout: pathlib.Path,
    staged: pathlib.Path,
    tree: pathlib.Path,
    version: str,
    planes: tuple[str, str] = _PLANES,
) -> None:
    """Make all that the Vagrantfile needs: the development tree, a key, and `.vagrant/metalk8s.json`."""
    development.build(checkout, staged, tree)
    folder = checkout / _FOLDER
    folder.mkdir(exist_ok=True)
    key = key_of(folder)
    if not key.exists():
        command.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-C", "doit", "-f", key])
    values = {
        "version": version,
        "tree": str(tree),
        "staged": str(staged),
        "edited": development.EDITED,
        "key": str(key),
        "planes": planes,
        "box": box.image_name(version),
        "run_options": box.RUN_OPTIONS,
    }
    action.write(folder / "metalk8s.json", (json.dumps(values, indent=2) + "\n").encode())


def _box(staged: pathlib.Path, root: pathlib.Path, name: str) -> None:
    box.build(staged, root)
    box.load(root, name)
    sys.stdout.write(f"   docker image {name}\n")


def _vagrant(wanted: settings.Settings, *arguments: str) -> None:
    environment = {"VAGRANT_CWD": str(wanted.root), "VAGRANT_DEFAULT_PROVIDER": wanted.vagrant_provider}
    command.call([wanted.vagrant, *arguments], environment=environment, hint=_INSTALL_HINT)


def _snapshot(wanted: settings.Settings) -> None:
    if wanted.vagrant_provider == _WITHOUT_SNAPSHOTS or _has_snapshot(wanted):
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
    if wanted.vagrant_provider == _WITHOUT_SNAPSHOTS:
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
