"""What the scripts of the medium share, in the shell that runs it."""

import hashlib
import io
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

from tests.support import states

COMMON = pathlib.Path(__file__).parents[2] / "scripts/common.sh"
STATES = """\
  Name: Install runc - Function: pkg.installed - Result: Clean - Started: 1 - Duration: 2 ms
----------
          ID: Run etcd
    Function: service.running
      Result: False
     Comment: One or more requisite failed: Pull etcd
----------
          ID: Pull etcd
    Function: metalk8s_image.pulled
      Result: False
     Comment: ctr: no such image
Summary for local
------------
Succeeded: 59 (changed=6)
Failed:     2
"""


def shell(tmp_path: pathlib.Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run lines after common.sh, as a script does after `start`."""
    (tmp_path / "work").mkdir(exist_ok=True)
    head = f"""set -euo pipefail
        PROGRAM=test.sh BASE_DIR=/medium VERSION=1.2.3
        . {COMMON}
        LOG_FILE={tmp_path}/log WORK_DIR={tmp_path}/work RETRY_HINT='Run it again.'
        """
    return subprocess.run(
        ["bash", "-c", head + script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def untimed(text: str) -> str:
    """Without the number of seconds, which is not always 0 on a busy machine."""
    return re.sub(r"\b\d+ s\b", "N s", text)


def test_a_step_tells_its_result_and_logs_the_rest(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, "work() { echo noise; echo \"= $1 holds\"; }; step 'Do it' work 'all of it'")
    assert (done.returncode, done.stderr) == (0, "")
    assert untimed(done.stdout) == "> Do it ... done [N s]\n  all of it holds\n"
    assert "noise\n" in (tmp_path / "log").read_text()


def test_a_step_ends_at_its_first_failure_and_says_how_to_go_on(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, "work() { echo why; false; echo never; }; step 'Do it' work; echo never")
    assert done.returncode == 1
    assert untimed(done.stdout) == "> Do it ... failed after N s\n"
    assert done.stderr == (
        f"\nDo it failed (exit code 1). It said:\n\n    why\n\nAll of it is in {tmp_path}/log\nRun it again.\n"
    )


def test_a_verbose_step_shows_all_of_it_at_once(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, "VERBOSE=yes; work() { echo why; exit 3; }; step 'Do it' work")
    assert done.returncode == 1
    assert untimed(done.stdout) == "> Do it ...\nwhy\n failed after N s\n"
    assert "Do it failed (exit code 3)\n" in done.stderr
    assert "why" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("line", ["value_of --key", "value_of --key ''", "misuse 'no'"])
def test_misuse_has_an_exit_code_of_its_own(tmp_path: pathlib.Path, line: str) -> None:
    done = shell(tmp_path, line)
    assert done.returncode == 2
    assert done.stderr.endswith("\nTry: test.sh --help\n")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (STATES, "= 59 states hold, changed: 6\n"),
        ("Succeeded: 7\n", "= 7 states hold, changed: 0\n"),
        (
            # Some of Salt's states tell twice.
            2 * "  Name: Run it - Function: service.running - Result: Differs - Started: 1\n"
            + "Succeeded: 8 (unchanged=1)\n",
            "= would change: Run it\n= 7 states hold, 1 would change\n",
        ),
        ("Succeeded: 68 (unchanged=61, changed=48)\n", "= 7 states hold, 61 would change\n"),
        (
            "  Name: Run it - Function: service.running - Result: Changed - Started: 1\nSucceeded: 12 (changed=10)\n",
            "= 12 states hold, changed: 10\n",
        ),
    ],
)
def test_a_run_is_summarized(tmp_path: pathlib.Path, text: str, summary: str) -> None:
    (tmp_path / "states").write_text(text)
    assert shell(tmp_path, f"summarize {tmp_path}/states").stdout == summary


def test_only_what_failed_by_itself_is_shown(tmp_path: pathlib.Path) -> None:
    (tmp_path / "states").write_text(STATES)
    shown = shell(tmp_path, f"show_failures {tmp_path}/states").stdout
    assert "Pull etcd\n" in shown
    assert "ctr: no such image" in shown
    assert "Run etcd" not in shown
    (tmp_path / "states").write_text("Rendering SLS failed\n")
    assert shell(tmp_path, f"show_failures {tmp_path}/states").stdout == "Rendering SLS failed\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "a command is needed"),
        ("install", "unknown command install"),
        ("import", "import needs --archive"),
        ("import --archive", "--archive needs a value"),
        ("import -a /a.iso --key /k --key /k", "--key is given twice"),
        ("unimport -a /a.iso --insecure", "unimport takes no --insecure"),
        ("activate --version 1.0.0", "activate needs --name"),
        ("deactivate -n a -V 1.0.0", "deactivate takes no --version"),
        ("create-env -n Prod", "--name Prod: is not of small letters"),
        ("delete-env -n prod -N a_b", "--namespace a_b: is not of small letters"),
        ("add-solution -n prod -s app", "add-solution needs --version"),
        ("delete-solution -n prod", "delete-solution needs --solution"),
        ("delete-solution -n prod -s app now", "unknown argument now"),
    ],
)
def test_solutions_sh_tells_misuse(tmp_path: pathlib.Path, line: str, why: str) -> None:
    done = solutions(tmp_path, *line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"solutions.sh: {why}")


def test_solutions_sh_has_help_for_every_command(tmp_path: pathlib.Path) -> None:
    done = solutions(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("import", "unimport", "activate", "deactivate", "create-env", "delete-env", "add-solution"):
        assert f"\n  {command} " in done.stdout
        assert solutions(tmp_path, command, "-h").stdout == done.stdout


def solutions(tmp_path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return script(tmp_path, "solutions.sh", *arguments)


def script(tmp_path: pathlib.Path, name: str, *arguments: str, replaced: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script on what is hardly a medium, with other functions in place of some."""
    for each in ("common.sh", name):
        shutil.copy(COMMON.with_name(each), tmp_path)
    with (tmp_path / "common.sh").open("a") as stream:
        stream.write(replaced)
    (tmp_path / "product.txt").write_text("NAME=MetalK8s\nVERSION=1.2.3\n")
    return subprocess.run(["bash", tmp_path / name, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "a command is needed"),
        ("join", "unknown command join"),
        ("invite", "invite needs --name"),
        ("accept --name node1", "accept needs --fingerprint"),
        ("invite --name node*", "'node*' is not the name of a node"),
        ("list --name node1", "list takes no --name"),
        ("remove -n node1 -o join.sh", "remove takes no --output"),
        ("invite -n node1 -f abc", "invite takes no --fingerprint"),
        ("list now", "unknown argument now"),
    ],
)
def test_nodes_sh_tells_misuse(tmp_path: pathlib.Path, line: str, why: str) -> None:
    done = script(tmp_path, "nodes.sh", *line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nodes.sh: {why}")


@pytest.mark.parametrize(
    "line", ["backup.sh", "iso-manager.sh", "nodes.sh list", "solutions.sh import --archive /x.iso"]
)
def test_a_host_that_is_no_bootstrap_node_is_told(tmp_path: pathlib.Path, line: str) -> None:
    """Before anything is asked of what such a host does not have."""
    done = script(tmp_path, *line.split(), replaced=f"start() {{ WORK_DIR={tmp_path} LOG_FILE={tmp_path}/log; }}\n")
    assert (done.returncode, done.stdout) == (1, "")
    why = "cannot be read. Is this the bootstrap node? bootstrap.sh makes one."
    assert done.stderr == f"/etc/metalk8s/bootstrap.yaml: {why}\n"


def test_restore_sh_joins_no_etcd_yet(tmp_path: pathlib.Path) -> None:
    done = script(tmp_path, "restore.sh", "--backup-file", "x", "--apiserver-node-ip", "192.0.2.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "this version does not run Kubernetes yet; leave it out" in done.stderr


@pytest.mark.parametrize(
    ("installed", "destination", "name"),
    [
        ("2.5.0", "2.5.1", "upgrade"),
        ("2.5.1-dev", "2.5.1", "upgrade"),
        ("2.5.1", "2.5.1", "upgrade"),
        ("2.5.7", "2.6.0", "upgrade"),
        ("2.9.0", "2.10.0", "upgrade"),
        ("2.5.1", "2.5.0", "downgrade"),
        ("2.6.0", "2.5.7", "downgrade"),
    ],
)
def test_one_minor_version_is_bridged(tmp_path: pathlib.Path, installed: str, destination: str, name: str) -> None:
    done = shell(tmp_path, f"check_step {installed} {destination} {name}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("installed", "destination", "name", "why"),
    [
        ("2.5.1", "2.7.0", "upgrade", "skips a minor version"),
        ("2.7.0", "2.5.1", "downgrade", "skips a minor version"),
        ("2.5.1", "2.4.9", "upgrade", "is no upgrade."),
        ("2.5.1", "2.6.0", "downgrade", "is no downgrade."),
        ("2.5.1", "2.5.0", "upgrade", "is a downgrade: downgrade.sh"),
        ("2.5.0", "2.5.1", "downgrade", "is an upgrade: upgrade.sh"),
        ("2.5.1", "3.0.0", "upgrade", "only the major version 2"),
        ("2.5.1", "1.9.0", "downgrade", "only the major version 2"),
        ("2.5.1", "2.6", "upgrade", "'2.6' is not a version"),
        ("2.7.1", "2.08.1", "upgrade", "'2.08.1' is not a version"),
        ("2.5.1", "'2.6.0; id'", "upgrade", "'2.6.0; id' is not a version"),
    ],
)
def test_any_other_step_is_refused(
    tmp_path: pathlib.Path, installed: str, destination: str, name: str, why: str
) -> None:
    done = shell(tmp_path, f"check_step {installed} {destination} {name}")
    assert done.returncode == 1
    assert why in done.stderr


def test_what_is_installed_is_read_from_what_it_wrote(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "minion.conf"
    ask = f"MINION_CONFIG={config}; installed_version"
    assert shell(tmp_path, ask).stdout == ""
    config.write_text("# Generated by MetalK8s 2.5.1-dev; edits are lost.\nmaster: x\n")
    assert shell(tmp_path, ask).stdout == "2.5.1-dev\n"


def test_a_host_without_configuration_is_told_where_it_is_described(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, f"check_host {tmp_path}/none {COMMON}")
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if "cannot be read" in line)
    page = "documentation/reference/bootstrap-yaml.html"
    assert said == f"{tmp_path}/none: cannot be read; what it must hold: /medium/{page}"
    assert (COMMON.parents[1] / page.replace("documentation", "docs")).with_suffix(".md").exists()


@pytest.mark.parametrize("log", ["/proc/none/log", "/proc"])
def test_a_log_that_cannot_be_written_is_told(tmp_path: pathlib.Path, log: str) -> None:
    done = shell(tmp_path, f"id() {{ echo 0; }}; LOG_FILE={log}; start test")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"test.sh: {log}: cannot be written. Name another file: --log-file FILE\n"


def test_a_medium_stands_where_every_program_can_name_it(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, "BASE_DIR='/media/MetalK8s 2.5'; install_salt_from() { echo never; }; install_salt")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("/media/MetalK8s 2.5: has other characters than letters")


def test_a_name_of_digits_stays_a_name(tmp_path: pathlib.Path) -> None:
    done = shell(tmp_path, f"configure_salt 010; cat {tmp_path}/work/salt/minion")
    assert states.load_yaml(done.stdout)["id"] == "010"


def test_an_invitation_is_whole_or_not_there(tmp_path: pathlib.Path) -> None:
    """On a host that is no bootstrap node: there is no authority."""
    nodes = COMMON.with_name("nodes.sh")
    script = f"""
        . <(sed -n '/^write_invitation/,/^}}/p' {nodes})
        ask() {{ echo 192.0.2.1; }}
        NAME=node1 BOOTSTRAP=bootstrap
        step 'Write the program' write_invitation {tmp_path}/join.sh
        """
    done = shell(tmp_path, script)
    assert done.returncode == 1
    assert "/etc/metalk8s/pki/repositories/ca.crt: No such file or directory" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "work"]


def test_join_sh_says_what_makes_a_program_of_it() -> None:
    join = COMMON.with_name("join.sh")
    done = subprocess.run(["bash", join, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.endswith("this is no program by itself: nodes.sh invite makes one of it\n")


@pytest.mark.parametrize("newest", ["20260102_030405", "19700101_000007"])
def test_the_newest_backups_are_kept(tmp_path: pathlib.Path, newest: str) -> None:
    """The one that was just written is among them, though the clock may be wrong; and what has another name."""
    older = [f"metalk8s-backup_202501{day:02}_000000.tar.gz" for day in range(1, 8)]
    written = f"metalk8s-backup_{newest}.tar.gz"
    others = ["metalk8s-backup_mine.tar.gz", "metalk8s-backup_20250101_000000.tar.gz.part", "backup.tar.gz", "pki"]
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in (*older, written, *others):
        (folder / name).touch()
    done = shell(tmp_path, f"remove_old_backups {folder}/{written}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"= removed: {folder}/{name}\n" for name in older[:3])
    assert {path.name for path in folder.iterdir()} == {*older[3:], written, *others}
    assert shell(tmp_path, f"remove_old_backups {folder}/{written}").stdout == ""


def test_a_backup_that_has_a_name_removes_none(tmp_path: pathlib.Path) -> None:
    head = 'step() { echo "$1"; }; back_up'
    both = "Save the data of etcd\nWrite the backup\n"
    assert shell(tmp_path, f"{head} /root/mine.tar.gz").stdout == both
    assert shell(tmp_path, f"{head} ''").stdout == f"{both}Remove old backups\n"


MEMBERS = {
    "backup.txt": b"VERSION=1.2.3\n",
    "etcd.db": b"",
    "etc/metalk8s/bootstrap.yaml": b"",
    "etc/salt/pki/minion/minion.pem": b"",
    "var/lib/metalk8s/salt-master/pki/master.pem": b"",
}


def check_backup(tmp_path: pathlib.Path, content: bytes) -> subprocess.CompletedProcess[str]:
    (tmp_path / "backup.tar.gz").write_bytes(content)
    restore = COMMON.with_name("restore.sh")
    return shell(
        tmp_path, f". <(sed -n '/^check_backup/,/^}}/p' {restore})\ncheck_backup {tmp_path}/backup.tar.gz\necho good"
    )


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_backup_of_this_version_is_taken(tmp_path: pathlib.Path) -> None:
    assert check_backup(tmp_path, archive(MEMBERS)).stdout == "good\n"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (MEMBERS | {"etc/shadow": b""}, "holds what no backup holds:\netc/shadow\n"),
        (MEMBERS | {"etc/metalk8s-too": b""}, "holds what no backup holds:"),
        (MEMBERS | {"etc/metalk8s/../shadow": b""}, "leaves its own folder."),
        (MEMBERS | {"backup.txt": b"VERSION=1.2.4\n"}, "is of version 1.2.4, this medium of 1.2.3."),
        ({"etcd.db": b""}, "holds no backup.txt."),
        ({"backup.txt": b""}, "holds no bootstrap.yaml."),
        ({"backup.txt": b"", "etc/metalk8s/bootstrap.yaml": b""}, "holds no etcd.db."),
    ],
)
def test_a_backup_of_other_things_is_refused(tmp_path: pathlib.Path, members: dict[str, bytes], why: str) -> None:
    done = check_backup(tmp_path, archive(members))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/backup.tar.gz: {why}" in done.stderr


def test_a_backup_that_is_cut_is_refused(tmp_path: pathlib.Path) -> None:
    for content in (b"", b"no archive", archive(MEMBERS)[:60]):
        assert "is not an archive that can be read." in check_backup(tmp_path, content).stderr


def test_a_development_tree_is_no_medium(tmp_path: pathlib.Path) -> None:
    (tmp_path / "DEVELOPMENT_TREE").touch()
    done = shell(tmp_path, f"verify_medium {tmp_path} /dev/null")
    assert done.returncode == 1
    assert f"{tmp_path}: is a development tree, which nobody signed." in done.stderr


def test_the_fingerprint_of_a_key_does_not_depend_on_its_lines(tmp_path: pathlib.Path) -> None:
    head, foot = "-----BEGIN PUBLIC KEY-----\n", "-----END PUBLIC KEY-----"
    texts = (f"{head}bWV0\nYWxr\n{foot}\n", f"{head}bWV0YWxr\n{foot}", f"{head}bWV0YWxs\n{foot}\n")
    for number, text in enumerate(texts):
        (tmp_path / str(number)).write_text(text)
    done = shell(tmp_path, f"for number in 0 1 2; do fingerprint {tmp_path}/$number; done")
    first, second, other = done.stdout.splitlines()
    assert first == second == hashlib.sha256(b"metalk").hexdigest()
    assert other != first
