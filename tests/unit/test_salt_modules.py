"""The modules that ship in the Salt tree, with the functions that Salt would give them."""

import io
import json
import pathlib
import socket
import struct
import types
import typing
from collections.abc import Callable

import jsonschema
import pycdlib
import pytest

from tests.support import salt_tree, states

TREE = salt_tree.ROOT / "salt"
PRODUCT = b"NAME=MetalK8s\nVERSION=2.5.1-dev\nSHORT_VERSION=2.5\n"


def archives(
    *paths: object, mount_root: str = "/srv/scality", mounts: object = (), **pillar: object
) -> types.ModuleType:
    """The module `metalk8s_archives` on a host whose pillar lists these paths."""
    pillar = {"archives": [str(path) for path in paths], "archives_mount_root": mount_root, **pillar}
    functions = {"mount.fstab": lambda: dict(typing.cast(typing.Any, mounts))}
    return states.load_module(
        TREE / "_modules/metalk8s_archives.py", __salt__=functions, __pillar__={"metalk8s": pillar}
    )


def folder(path: pathlib.Path, product: bytes = PRODUCT) -> pathlib.Path:
    path.mkdir()
    (path / "product.txt").write_bytes(product)
    return path


def iso(path: pathlib.Path, product: bytes | None = PRODUCT, neighbours: int = 0) -> pathlib.Path:
    """An ISO with a product.txt after some files; many of them make its root directory longer than a sector."""
    writer = pycdlib.PyCdlib()
    writer.new(interchange_level=3, rock_ridge="1.09", joliet=3)
    names = [f"FILE{number:04}.TXT" for number in range(neighbours)]
    for name in [*names, *(["PRODUCT.TXT"] if product is not None else [])]:
        content = product if name == "PRODUCT.TXT" and product is not None else b"NAME=Other\n"
        lower = name.lower()
        stream = io.BytesIO(content)
        writer.add_fp(stream, len(content), f"/{name};1", rr_name=lower, joliet_path=f"/{lower}")
    writer.write(str(path))
    writer.close()
    return path


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(states.CommandExecutionError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_folder_is_used_where_it_stands(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path / "medium")
    assert archives().info(str(path)) == {
        "version": "2.5.1-dev",
        "environment": "metalk8s-2.5.1-dev",
        "location": str(path),
        "iso": "",
        "variable": "metalk8s_2_5_1_dev",
    }


@pytest.mark.parametrize("neighbours", [0, 120])
def test_an_iso_is_read_before_it_is_mounted(tmp_path: pathlib.Path, neighbours: int) -> None:
    path = iso(tmp_path / "m.iso", neighbours=neighbours)
    found = archives(mount_root="/mnt/media").info(str(path))
    assert found["version"] == "2.5.1-dev"
    assert found["location"] == "/mnt/media/metalk8s-2.5.1-dev"
    assert found["iso"] == str(path)


def test_the_default_place_of_a_mount_is_the_formulas(tmp_path: pathlib.Path) -> None:
    module = states.load_module(TREE / "_modules/metalk8s_archives.py", __pillar__={})
    defaults = states.load_yaml((TREE / "metalk8s/defaults.yaml").read_text())
    location = module.info(str(iso(tmp_path / "m.iso")))["location"]
    assert location == f"{defaults['archives_mount_root']}/metalk8s-2.5.1-dev"


@pytest.mark.parametrize(
    ("product", "reason"),
    [
        (b"NAME=Other\nVERSION=1.0.0\n", "has no line NAME=MetalK8s"),
        (b"NAME=MetalK8s\n", "'' in its product.txt is not a version"),
        (b"NAME=MetalK8s\nVERSION=2.5.1+x\n", "'2.5.1+x' in its product.txt is not a version"),
        (b"NAME=MetalK8s\nVERSION=2.5.1/../..\n", "is not a version"),
        ("NAME=MetalK8s\nVERSION=٢.5.1\n".encode(), "is not a version"),
        (b"\xff\xfe", "codec can't decode"),
        (None, "it holds no product.txt"),
    ],
)
def test_a_strange_medium_is_refused(tmp_path: pathlib.Path, product: bytes | None, reason: str) -> None:
    path = iso(tmp_path / "m.iso", product)
    assert reason in refusal(archives().info, str(path))
    assert str(path) in refusal(archives().info, str(path))
    if product is not None:
        assert reason in refusal(archives().info, str(folder(tmp_path / "folder", product)))


def test_what_is_no_medium_is_refused(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "text.iso"
    text.write_bytes(b"hello\n" * 10000)
    assert "it is neither a folder nor an ISO-9660 file" in refusal(archives().info, str(text))
    assert "No such file or directory" in refusal(archives().info, str(tmp_path / "none.iso"))
    (tmp_path / "empty").mkdir()
    assert "it holds no product.txt" in refusal(archives().info, str(tmp_path / "empty"))


@pytest.mark.parametrize("size", [0, 100, 16 * 2048 + 7, 17 * 2048, 24 * 2048])
def test_an_iso_that_is_cut_is_refused(tmp_path: pathlib.Path, size: int) -> None:
    path = tmp_path / "m.iso"
    path.write_bytes(iso(tmp_path / "whole.iso").read_bytes()[:size])
    assert str(path) in refusal(archives().info, str(path))


def test_a_hostile_directory_ends(tmp_path: pathlib.Path) -> None:
    content = bytearray(iso(tmp_path / "whole.iso").read_bytes())
    path = tmp_path / "m.iso"
    struct.pack_into("<I", content, 16 * 2048 + 156 + 10, 0xFFFFFFFF)
    path.write_bytes(content)
    assert "its root directory is damaged" in refusal(archives().info, str(path))
    content = bytearray((tmp_path / "whole.iso").read_bytes())
    (sector,) = struct.unpack_from("<I", content, 16 * 2048 + 156 + 2)
    content[sector * 2048] = 1
    path.write_bytes(content)
    assert "its root directory is damaged" in refusal(archives().info, str(path))


@pytest.mark.parametrize(
    "path", ["metalk8s.iso", "", "/a b.iso", "/a;reboot", "/a\n", "//a", "/a/../b", "/$(x)", "/-a"]
)
def test_paths_that_some_file_would_misread_are_refused(path: str) -> None:
    assert "is not an absolute path" in refusal(archives().info, path)


def test_all_archives_are_known_by_environment(tmp_path: pathlib.Path) -> None:
    new = folder(tmp_path / "a")
    old = iso(tmp_path / "b.iso", b"NAME=MetalK8s\nVERSION=2.4.0\n")
    module = archives(new, old, new)
    assert [archive["environment"] for archive in module.known()] == ["metalk8s-2.4.0", "metalk8s-2.5.1-dev"]
    assert module.location("2.5.1-dev") == str(new)
    assert refusal(module.location, "2.6.0") == (
        "version 2.6.0 is not among the archives of this host; there: 2.4.0, 2.5.1-dev"
    )
    assert "there: none" in refusal(archives().location, "2.6.0")


def test_everything_wrong_is_told_at_once(tmp_path: pathlib.Path) -> None:
    first, second = folder(tmp_path / "a"), iso(tmp_path / "b.iso")
    text = refusal(archives(first, "relative.iso", second, tmp_path / "none").known)
    assert text.split("; ") == [
        "archive 'relative.iso': is not an absolute path of letters, digits and . _ @ + - /",
        f"archive {second}: is version 2.5.1-dev, as is {first}",
        f"archive {tmp_path}/none: No such file or directory",
    ]


def network(addresses: dict[str, list[str]], networks: list[str]) -> types.ModuleType:
    functions = {"network.ip_addrs": lambda cidr: addresses[cidr]}
    pillar = {"metalk8s": {"networks": {"control_plane": networks}}}
    return states.load_module(TREE / "_modules/metalk8s_network.py", __salt__=functions, __pillar__=pillar)


def test_the_first_network_with_an_address_counts() -> None:
    addresses = {"10.0.0.0/8": [], "10.1.0.0/16": ["10.1.0.9", "10.1.0.10"], "10.2.0.0/16": ["10.2.0.1"]}
    assert network(addresses, list(addresses)).control_plane_ip() == "10.1.0.10"


def test_a_host_outside_the_control_plane_is_told_so() -> None:
    assert "10.0.0.0/8" in refusal(network({"10.0.0.0/8": []}, ["10.0.0.0/8"]).control_plane_ip)
    assert "none is configured" in refusal(network({}, []).control_plane_ip)


def test_what_listens_is_found_and_what_does_not_is_waited_for() -> None:
    module = network({}, [])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert module.accepts("127.0.0.1", port, 1) is True
    assert module.accepts("127.0.0.1", port, 0) is False


def test_a_service_that_does_not_listen_is_a_failure_but_not_in_a_test_run() -> None:
    def state(answer: bool, *, is_test: bool = False) -> dict[str, typing.Any]:
        functions = {"metalk8s_network.accepts": lambda address, port, _: answer and (address, port) == ("a.b", 80)}
        module = states.load_module(
            TREE / "_states/metalk8s_network.py", __salt__=functions, __opts__={"test": is_test}
        )
        found: dict[str, typing.Any] = module.listening("a.b:80")
        assert found["changes"] == {}
        return found

    assert state(True)["result"] is True
    assert state(False)["result"] is False
    problem = "nothing accepts connections at a.b:80 after 300 s; the journal of its unit says why"
    assert state(False)["comment"] == problem
    assert state(False, is_test=True)["result"] is None


def bootstrap(pillar: object, **functions: object) -> types.ModuleType:
    """The module `metalk8s_bootstrap`; a function that is not given says yes."""
    asked = {
        "metalk8s_network.control_plane_ip": lambda: "10.0.0.1",
        "metalk8s_archives.known": list,
        "metalk8s_archives.info": lambda _: {"version": "2.5.1"},
        "metalk8s_archives.location": lambda _: "/m",
        "metalk8s_solutions.complete": lambda: None,
    }
    given = {name.replace("__", "."): function for name, function in functions.items()}
    return states.load_module(TREE / "_modules/metalk8s_bootstrap.py", __salt__={**asked, **given}, __pillar__=pillar)


def fault(text: str) -> Callable[..., typing.NoReturn]:
    def refuse(*_: object) -> typing.NoReturn:
        raise states.CommandExecutionError(text)

    return refuse


def test_the_bootstrap_nodes_name_is_in_the_pillar() -> None:
    assert bootstrap({"metalk8s": {"ca": {"minion": "node7"}}}).minion() == "node7"
    words = "Failed to load ext_pillar metalk8s: /etc/b.yaml: ca.minion: must; /etc/b.yaml: kind: must"
    assert refusal(bootstrap({"_errors": [words]}).minion) == "/etc/b.yaml: ca.minion: must\n/etc/b.yaml: kind: must"


def test_a_configuration_that_fits_the_host_is_good() -> None:
    assert bootstrap({}).check("/m") == "good"


def test_what_a_thin_solution_stands_on_stays() -> None:
    module = bootstrap({}, metalk8s_solutions__complete=fault("/srv/app: nothing here has it"))
    assert refusal(module.check, "/m") == "/srv/app: nothing here has it"


def test_a_configuration_that_does_not_fit_is_told_at_once() -> None:
    module = bootstrap(
        {},
        metalk8s_network__control_plane_ip=fault("no address"),
        metalk8s_archives__known=fault("archive a; archive b"),
    )
    assert refusal(module.check, "/m").splitlines() == ["no address", "archive a", "archive b"]
    assert refusal(bootstrap({}, metalk8s_archives__location=fault("not among")).check, "/m") == "not among"


FILE = """\
kind: BootstrapConfiguration
archives:  # what is served
  - /a.iso
  - /b # the old one

# The rest stays.
ca: {minion: bootstrap}
"""


def test_an_archive_is_added_once_and_all_else_stays(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(FILE)
    for _ in range(2):
        bootstrap({}).add_archive(str(path), "/c.iso")
    text = path.read_text()
    assert states.load_yaml(text) == {**states.load_yaml(FILE), "archives": ["/a.iso", "/b", "/c.iso"]}
    assert "# The rest stays.\nca: {minion: bootstrap}\n" in text


@pytest.mark.parametrize("archives", ["/a.iso", "[/a.iso, /b]", "[]", "\n- /a.iso\n- /b"])
def test_archives_may_be_written_in_any_way(tmp_path: pathlib.Path, archives: str) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(f"a: 1\narchives: {archives}\nz: 2\n")
    bootstrap({}).add_archive(str(path), "/new")
    assert states.load_yaml(path.read_text())["archives"][-1] == "/new"
    assert list(states.load_yaml(path.read_text())) == ["a", "archives", "z"]


def test_an_archive_is_removed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(FILE)
    module = bootstrap({})
    assert "/c is not among /a.iso, /b" in refusal(module.remove_archive, str(path), "/c")
    # Neither is there any more.
    module.remove_archive(str(path), "/a.iso")
    module.remove_archive(str(path), "/b")
    assert states.load_yaml(path.read_text()) == {**states.load_yaml(FILE), "archives": []}


def test_a_removed_archive_is_still_mounted_even_if_it_is_not_there_any_more() -> None:
    mounts = {
        "/": {"device": "/dev/sda"},
        "/srv/scality/app-1": {"device": "/app.iso"},
        "/srv/scality/metalk8s-1.2.3": {"device": "/a.iso"},
        "/srv/scality/metalk8s-1.2.4": {"device": "/b.iso"},
    }
    solutions = {"config": {"archives": ["/app.iso"]}}
    assert archives("/b.iso", mounts=mounts, solutions=solutions).left("/a.iso", "/b.iso", "/app.iso", "/folder") == (
        "/srv/scality/metalk8s-1.2.3 /a.iso"
    )
    assert archives("/a.iso", mounts=mounts).left("/a.iso") == ""


@pytest.mark.parametrize("text", ["", "a: 1", "archives: 7", ": :", "[]"])
def test_a_file_without_archives_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    assert "has no list of archives" in refusal(bootstrap({}).add_archive, str(path), "/new")


class Containerd:
    """Answers as `ctr` does, from a set of names."""

    def __init__(self, *held: str, offers: str = "", error: str = "") -> None:
        self.held, self.offers, self.error = set(held), offers, error
        self.loads: list[list[str]] = []

    def run(self, argv: list[str], **_: object) -> dict[str, typing.Any]:
        if self.error:
            return {"retcode": 1, "stdout": "", "stderr": self.error}
        if any(" import " in each for each in argv):
            self.loads.append(argv)
            self.held.add(self.offers)
        return {"retcode": 0, "stdout": "\n".join(sorted(self.held)), "stderr": ""}

    def state(self, *, is_test: bool = False) -> dict[str, typing.Any]:
        images = states.load_module(TREE / "_modules/metalk8s_image.py", __salt__={"cmd.run_all": self.run})
        functions = {"metalk8s_image.names": images.names, "metalk8s_image.load": images.load}
        state = states.load_module(TREE / "_states/metalk8s_image.py", __salt__=functions, __opts__={"test": is_test})
        result: dict[str, typing.Any] = state.imported("host/env/pause:3.6", "/m/images", "k8s.io")
        assert set(result) == {"name", "result", "comment", "changes"}
        return result


def test_an_image_is_imported_once() -> None:
    containerd = Containerd("host/env/nginx:1", offers="host/env/pause:3.6")
    first = containerd.state()
    assert first["result"] is True
    assert list(first["changes"]) == ["host/env/pause:3.6"]
    (argv,) = containerd.loads
    assert argv[-3:] == ["/m/images", "k8s.io", "host/env/pause"]
    second = containerd.state()
    assert (second["result"], second["changes"], len(containerd.loads)) == (True, {}, 1)


def test_a_test_run_imports_nothing() -> None:
    containerd = Containerd(offers="host/env/pause:3.6")
    result = containerd.state(is_test=True)
    assert result["result"] is None
    assert result["changes"]
    assert not containerd.loads


def test_an_archive_without_the_image_is_a_failure() -> None:
    result = Containerd(offers="host/env/pause:9").state()
    assert (result["result"], result["changes"]) == (False, {})
    assert result["comment"] == "host/env/pause:3.6 was not imported from /m/images: there is no image of that name"


def test_a_containerd_that_does_not_answer_is_a_failure_but_not_in_a_test_run() -> None:
    silent = Containerd(error="ctr: failed to dial")
    assert silent.state()["result"] is False
    assert "failed to dial" in silent.state()["comment"]
    assert silent.state(is_test=True)["result"] is None


BOOTSTRAP = """\
apiVersion: metalk8s.scality.com/v1alpha2
kind: BootstrapConfiguration
networks:
  controlPlane: 10.200.1.0/28
  workloadPlane: [10.200.1.16/28, 10.200.1.32/28]
ca:
  minion: bootstrap
archives:
  - /root/metalk8s.iso
"""


def pillar(tmp_path: pathlib.Path, text: str, minion: str = "bootstrap") -> dict[str, typing.Any]:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text)
    module = states.load_module(TREE / "_pillar/metalk8s.py", __opts__={"interface": "10.200.1.7"})
    found: dict[str, typing.Any] = module.ext_pillar(minion, {}, bootstrap_config=str(path))["metalk8s"]
    return found


def test_the_bootstrap_node_learns_of_the_archives(tmp_path: pathlib.Path) -> None:
    assert pillar(tmp_path, BOOTSTRAP) == {
        "ca": {"minion": "bootstrap"},
        "node": {"roles": ["node", "bootstrap"]},
        "archives": ["/root/metalk8s.iso"],
        "networks": {
            "control_plane": ["10.200.1.0/28"],
            "workload_plane": ["10.200.1.16/28", "10.200.1.32/28"],
            "pods": "10.233.0.0/16",
            "services": "10.96.0.0/12",
        },
        "proxies": {},
    }


def test_other_nodes_do_not(tmp_path: pathlib.Path) -> None:
    found = pillar(tmp_path, BOOTSTRAP, "node1")
    assert (found["node"], found["archives"]) == ({"roles": ["node"]}, [])
    assert (found["repo"], found["salt"]) == ({"ip": "10.200.1.7"}, {"master": "10.200.1.7"})


def test_bootstrap_yaml_is_refused_with_every_reason(tmp_path: pathlib.Path) -> None:
    text = """\
apiVersion: metalk8s.scality.com/v1
networks: {controlPlane: 10.200.1.1/28}
archives: [metalk8s.iso]
proxies: {ftp: x, http: [a], https: "a\\"b", no_proxy: localhost}
archive: []
"""
    with pytest.raises(ValueError, match=r"bootstrap\.yaml") as caught:
        pillar(tmp_path, text)
    prefix = f"{tmp_path}/bootstrap.yaml: "
    assert [problem.removeprefix(prefix) for problem in str(caught.value).split("; ")] == [
        "archive: unknown key",
        "apiVersion: must be metalk8s.scality.com/v1alpha2",
        "kind: must be BootstrapConfiguration",
        "networks.controlPlane: 10.200.1.1/28 has host bits set",
        "networks.workloadPlane: must be a network in CIDR notation, or a list of them",
        "ca.minion: must be the name of the bootstrap node's minion",
        "archives: metalk8s.iso is not an absolute path",
        "proxies.ftp: unknown key",
        "proxies.http: must be a URL",
        "proxies.https: has a blank, a quote, a backslash or nothing in it",
        "proxies.no_proxy: must be a list of hosts",
    ]


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "", "\0"])
def test_bootstrap_yaml_that_is_no_mapping_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"bootstrap\.yaml: "):
        pillar(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "text"), [("archives", "archives: [/b.iso]\n"), ("http", "proxies: {http: a, http: b}\n")]
)
def test_a_key_of_bootstrap_yaml_that_stands_twice_is_refused(tmp_path: pathlib.Path, key: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"bootstrap\.yaml: {key} stands twice\n.*line \d+"):
        pillar(tmp_path, BOOTSTRAP + text)


def test_a_missing_bootstrap_yaml_is_named(tmp_path: pathlib.Path) -> None:
    module = states.load_module(TREE / "_pillar/metalk8s.py")
    with pytest.raises(ValueError, match="/none: No such file or directory"):
        module.ext_pillar("bootstrap", {}, bootstrap_config=str(tmp_path / "none"))


WRONG = {
    "apiVersion": {"apiVersion": "v1"},
    "kind": {"kind": "Node"},
    "ca": {"ca": {"minion": "a b"}},
    "ca.other": {"ca": {"minion": "a", "other": 1}},
    "networks": {"networks": {"controlPlane": "10.0.0.0/8"}},
    "networks.x": {"networks": {"controlPlane": "10.0.0.0/8", "workloadPlane": "10.0.0.0/8", "x": "10.0.0.0/8"}},
    "networks.pods": {"networks": {"controlPlane": "10.0.0.0/8", "workloadPlane": "10.0.0.0/8", "pods": []}},
    "archives": {"archives": ["a.iso"]},
    "no archives": {"archives": []},
    "proxies": {"proxies": {"http": "a b"}},
    "unknown": {"archive": "/a"},
}


@pytest.mark.parametrize("change", [{}, {"proxies": None}, {"archives": "/a"}, *WRONG.values()])
def test_the_published_schema_says_the_same(tmp_path: pathlib.Path, change: dict[str, typing.Any]) -> None:
    value = {**states.load_yaml(BOOTSTRAP), **change}
    schema = json.loads((salt_tree.ROOT / "buildchain/schemas/bootstrap.schema.json").read_text())
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert is_valid == (change not in WRONG.values())
    if is_valid:
        pillar(tmp_path, json.dumps(value))
    else:
        with pytest.raises(ValueError, match=r"bootstrap\.yaml: "):
            pillar(tmp_path, json.dumps(value))
