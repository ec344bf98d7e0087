"""Every attack of the table against a folder and an image, judged in Python and by verify.sh: one verdict."""

import contextlib
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import typing
from collections.abc import Iterator

import pytest

from buildchain import signing, verify
from buildchain.verify import image
from tests.support import attacks, keys, medium

pytestmark = pytest.mark.tools("gpg", "gpgv", "dash", "busybox", "xorriso", "genisoimage", "openssl", "sha256sum")

Verdict = verify.Verdict
SCRIPT = medium.ROOT / "scripts" / "verify.sh"
DEVELOPMENT = frozenset({signing.DEVELOPMENT_FINGERPRINT})


@pytest.fixture(scope="module")
def signers() -> Iterator[attacks.Keys]:
    with keys.generate() as release, keys.generate("stranger") as stranger, keys.development() as development:
        yield attacks.Keys(release, stranger, development)


@pytest.fixture(scope="module")
def good(signers: attacks.Keys) -> medium.Entries:
    return medium.good(signers.release)


def run_script(*arguments: object, shell: str = "dash", path: str | None = None) -> tuple[int, str, list[str]]:
    """Exit code, verdict and faults of verify.sh."""
    environment = {"PATH": path} if path else None
    argv = [*shell.split(), str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, env=environment)
    assert not done.stderr, done.stderr
    *faults, last = done.stdout.splitlines()
    found = re.search(r": (good|development key|unknown key|unsigned|corrupt): ", last)
    assert found, last
    return done.returncode, found[1], faults


def names(report: verify.Report) -> set[str]:
    return {fault.path for fault in report.faults}


@pytest.mark.parametrize("attack", attacks.TABLE, ids=lambda attack: attack.name)
def test_attack(attack: attacks.Attack, good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    """A folder, an image and the script: the same verdict, the same exit code, the same file named."""
    entries = attack.change(good, signers)
    folder = medium.stage(entries, tmp_path / "a folder")
    key_file = tmp_path / "release key.asc"
    key_file.write_bytes(signers.release.public)
    trust = verify.Trust((signers.release.public,), None, DEVELOPMENT)
    report = verify.judge(folder, trust)
    image_report = verify.judge(medium.write_iso(entries, tmp_path / "x.iso"), trust)
    code, verdict, faults = run_script("--key", key_file, folder)
    assert (report.verdict, image_report.verdict, verdict) == (attack.verdict, attack.verdict, attack.verdict.value)
    assert report.exit_code == image_report.exit_code == code == (0 if attack.verdict is Verdict.GOOD else 1)
    assert not attack.path or attack.path in names(report) & names(image_report)
    assert not attack.path or any(fault.startswith(f"{attack.path}: ") for fault in faults), faults


def test_downgrade_is_told_by_the_version(signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    folder = medium.stage(medium.good(signers.release, version="2.5.0"), tmp_path / "root")
    assert verify.judge(folder, verify.Trust((signers.release.public,))).version == "MetalK8s 2.5.0"


def test_expired_key(tmp_path: pathlib.Path) -> None:
    with keys.generate(expires="1d", moment="20200101T000000") as key:
        folder = medium.stage(medium.good(key), tmp_path / "root")
        public = key.public
    _judge_both(folder, public, tmp_path, Verdict.UNKNOWN_KEY, "expired")


def test_revoked_key(signers: attacks.Keys, good: medium.Entries, tmp_path: pathlib.Path) -> None:
    folder = medium.stage(good, tmp_path / "root")
    _judge_both(folder, keys.revoke(signers.release), tmp_path, Verdict.UNKNOWN_KEY, "revoked")


def test_changed_digest_in_the_sums_names_the_sums(
    signers: attacks.Keys, good: medium.Entries, tmp_path: pathlib.Path
) -> None:
    """One hex digit for another: a proper line, which no file fits any more, and which nobody signed."""
    folder = medium.stage(good, tmp_path / "root")
    sums = folder / "SHA256SUM"
    text = sums.read_text()
    sums.chmod(0o644)
    sums.write_text(("0" if text[0] != "0" else "1") + text[1:])
    sums.chmod(0o444)
    _judge_both(folder, signers.release.public, tmp_path, Verdict.CORRUPT, "SHA256SUM: is not what its signature signs")


def _judge_both(folder: pathlib.Path, public: bytes, tmp_path: pathlib.Path, verdict: Verdict, reason: str) -> None:
    key_file = tmp_path / "key.asc"
    key_file.write_bytes(public)
    report = verify.judge(folder, verify.Trust((public,)))
    code, word, faults = run_script("--key", key_file, folder)
    assert (report.verdict.value, report.exit_code, word, code) == (verdict.value, 1, verdict.value, 1)
    assert reason in str(report)
    assert reason in "\n".join(faults)


def test_named_development_key_is_accepted_under_its_own_verdict(signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    key = signers.development
    folder = medium.stage(medium.good(key), tmp_path / "root")
    assert key.fingerprint == signing.DEVELOPMENT_FINGERPRINT
    report = verify.judge(folder, verify.Trust((), key.fingerprint, DEVELOPMENT))
    assert (report.verdict, report.exit_code) == (Verdict.DEVELOPMENT_KEY, 0)
    assert run_script("--fingerprint", key.fingerprint, folder)[:2] == (0, "development key")


def test_key_of_the_medium_is_never_trusted_by_itself(
    good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path
) -> None:
    folder = medium.stage(good, tmp_path / "root")
    report = verify.judge(folder, verify.Trust())
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN_KEY, 1)
    assert "signed by a key that you did not name" in str(report)
    assert run_script(folder)[:2] == (1, "unknown key")
    wrong = "0" * 40
    assert verify.judge(folder, verify.Trust((), wrong)).verdict is Verdict.UNKNOWN_KEY
    assert run_script("--fingerprint", wrong, folder)[:2] == (1, "unknown key")
    assert verify.judge(folder, verify.Trust((), signers.release.fingerprint.lower())).verdict is Verdict.GOOD
    assert run_script("--fingerprint", signers.release.fingerprint.lower(), folder)[:2] == (0, "good")


def test_tampered_medium_key_does_not_help(good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    """The user's own key judges, even when the medium offers none that can be read."""
    folder = medium.stage(medium.seal(good | {medium.KEY: medium.File(b"rubbish")}, signers.release), tmp_path / "root")
    key_file = tmp_path / "key.gpg"
    key_file.write_bytes(signers.release.public_binary)
    assert verify.judge(folder, verify.Trust((signers.release.public_binary,))).verdict is Verdict.GOOD
    assert run_script("--key", key_file, folder)[:2] == (0, "good")


def test_a_file_of_several_keys_trusts_each(
    good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path
) -> None:
    """As a node keeps them, when the next version is signed by another key."""
    folder = medium.stage(good, tmp_path / "root")
    both = signers.stranger.public + signers.release.public
    key_file = tmp_path / "keys.asc"
    key_file.write_bytes(both)
    assert verify.judge(folder, verify.Trust((both,))).verdict is Verdict.GOOD
    assert run_script("--key", key_file, folder)[:2] == (0, "good")
    key_file.write_bytes(signers.stranger.public)
    assert run_script("--key", key_file, folder)[:2] == (1, "unknown key")


@pytest.mark.parametrize("shell", ["dash", "busybox ash", "bash --posix"])
@pytest.mark.parametrize(
    "tools", [("gpgv", "openssl"), ("gpgv", "sha256sum"), ("gpg", "sha256sum")], ids=lambda tools: "+".join(tools)
)
def test_script_with_few_tools(
    shell: str, tools: tuple[str, ...], good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path
) -> None:
    """With busybox's own tools and one of each pair: same verdicts for a good and for a damaged medium."""
    programs = tmp_path / "bin"
    programs.mkdir()
    applets = [
        "awk",
        "base64",
        "cat",
        "dirname",
        "find",
        "grep",
        "head",
        "mkdir",
        "mktemp",
        "od",
        "readlink",
        "rm",
        "sh",
        "sort",
        "stat",
        "tr",
    ]
    for applet in [*applets, *({"sha256sum"} & set(tools))]:
        (programs / applet).symlink_to(shutil.which("busybox") or "")
    for program in ("dash", "busybox", "bash", *({"gpg", "gpgv", "openssl"} & set(tools))):
        (programs / program).symlink_to(shutil.which(program) or "")
    arguments = ("--fingerprint", signers.release.fingerprint)
    folder = medium.stage(good, tmp_path / "good")
    code, verdict, faults = run_script(*arguments, folder, shell=shell, path=str(programs))
    assert (code, verdict, faults) == (0, "good", [])
    changed = {attack.name: attack for attack in attacks.TABLE}["swap two files"].change(good, signers)
    folder = medium.stage(changed, tmp_path / "swapped")
    code, verdict, faults = run_script(*arguments, folder, shell=shell, path=str(programs))
    assert (code, verdict, len(faults)) == (1, "corrupt", 2)


def test_script_misuse(tmp_path: pathlib.Path) -> None:
    for arguments in (
        ["--key"],
        ["--key", "/nonexistent"],
        ["--key", str(SCRIPT)],
        ["--fingerprint", "ABCD"],
        ["--what"],
        ["a", "b"],
        ["/nonexistent"],
    ):
        done = subprocess.run(["dash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith("verify.sh: "), arguments


def test_script_judges_its_own_folder_and_is_quiet(
    good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path
) -> None:
    folder = medium.stage(good, tmp_path / "-root")
    argv = ["./verify.sh", "-q", "--fingerprint", signers.release.fingerprint]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_script_leaves_nothing_behind(good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    folder = medium.stage(good, tmp_path / "root")
    temporary = tmp_path / "a temporary folder"
    temporary.mkdir()
    argv = ["dash", str(SCRIPT), "--fingerprint", signers.release.fingerprint, str(folder)]
    done = subprocess.run(
        argv, check=False, capture_output=True, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(temporary)}
    )
    assert (done.returncode, list(temporary.iterdir())) == (0, [])


def test_hostile_names_do_not_reach_the_terminal(
    good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path
) -> None:
    folder = medium.stage(good, tmp_path / "root")
    (folder / "evil\x1b[2J\nSHA256SUM.asc: all is well").write_bytes(b"x")
    (folder / b"caf\xe9".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    report = verify.judge(folder, verify.Trust((), signers.release.fingerprint))
    code, verdict, faults = run_script("--fingerprint", signers.release.fingerprint, folder)
    assert (report.verdict, verdict, code) == (Verdict.CORRUPT, "corrupt", 1)
    assert "\x1b" not in str(report) + "".join(faults)
    assert str(report).count("\n") == len(report.faults) + len(report.notes) + 1
    assert any("its name is not UTF-8" in fault.what for fault in report.faults)


@pytest.mark.parametrize("program", ["xorriso", "genisoimage"])
def test_images_of_other_writers_are_understood(program: str, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    """A second opinion on our reader; genisoimage puts links into the Joliet tree, so they are left out."""
    entries = medium.unsealed(signers.release, has_index=True)
    kept = {path: entry for path, entry in entries.items() if program == "xorriso" or isinstance(entry, medium.File)}
    folder = medium.stage(medium.seal(kept, signers.release), tmp_path / "root")
    iso = medium.write_iso_with(program, folder, tmp_path / "x.iso")
    report = verify.judge(iso, verify.Trust((), signers.release.fingerprint))
    assert (report.faults, report.verdict) == ((), Verdict.GOOD)


def test_any_flipped_byte_is_found(good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    """With SHA256SUM beside the image, wherever the byte is; within a file, the file is named even without."""
    iso = medium.write_iso(good, tmp_path / "x.iso")
    medium.write_sums(iso, signers.release)
    alone = tmp_path / "alone" / "x.iso"
    alone.parent.mkdir()
    whole = iso.read_bytes()
    trust = verify.Trust((), signers.release.fingerprint)
    assert verify.judge(iso, trust).verdict is Verdict.GOOD
    rng = random.Random()
    with contextlib.closing(image.Image(iso)) as opened:
        nodes = image.scan(opened)
    files = [path for path, node in nodes.items() if node.size]
    for _ in range(40):
        changed = bytearray(whole)
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        changed[place] ^= bit
        iso.write_bytes(changed)
        assert verify.judge(iso, trust).verdict is Verdict.CORRUPT, f"byte {place} ^ {bit}"
    for path in rng.sample(sorted(files), 12):
        extents = nodes[path].content
        assert extents
        place = extents.parts[0][0] + rng.randrange(extents.size)
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(8)
        alone.write_bytes(changed)
        report = verify.judge(alone, trust)
        assert report.exit_code == 1, f"byte {place} of {path}"
        assert path in names(report), f"byte {place} of {path}"


def test_beside_the_image(good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path) -> None:
    """What vouches for the whole image is judged like the rest: by signature, key and digest."""
    iso = medium.write_iso(good, tmp_path / "x.iso")
    trust = verify.Trust((), signers.release.fingerprint)
    assert "were not judged" in str(verify.judge(iso, trust))
    medium.write_sums(iso, signers.release)
    assert verify.judge(iso, trust).notes == ()
    renamed = iso.rename(tmp_path / "renamed.iso")
    assert (verify.judge(renamed, trust).notes, verify.judge(renamed, trust).exit_code) == ((), 0)
    medium.write_sums(renamed, signers.stranger)
    report = verify.judge(renamed, trust)
    assert (report.verdict, names(report)) == (Verdict.UNKNOWN_KEY, {"beside the image: SHA256SUM.asc"})
    (tmp_path / medium.SIGNATURE).unlink()
    assert verify.judge(renamed, trust).verdict is Verdict.UNSIGNED
    (tmp_path / medium.SUMS).write_bytes(b"rubbish\n")
    assert verify.judge(renamed, trust).verdict is Verdict.CORRUPT


def test_no_agent_and_no_home_is_left(
    good: medium.Entries, signers: attacks.Keys, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def noted(*given: typing.Any) -> str:
        made.append(make(*given))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", noted)
    folder = medium.stage(good, tmp_path / "root")
    assert verify.judge(folder, verify.Trust((), signers.release.fingerprint)).exit_code == 0
    homes = [home for home in made if home.startswith("/tmp/verify-")]  # noqa: S108
    assert len(homes) == 1
    assert not [home for home in homes if pathlib.Path(home).exists()]
    assert not [line for line in _command_lines() if b"gpg-agent" in line and homes[0].encode() in line]


def _command_lines() -> Iterator[bytes]:
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes()
