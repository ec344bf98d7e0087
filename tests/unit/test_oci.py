"""The documents of an OCI image, and the folder they stand in."""

import json
import pathlib

import pytest

from buildchain import digest, errors, oci, store

CREATED = 1_700_000_000


def _layer(number: int, created: int = CREATED) -> oci.Layer:
    content = digest.Descriptor.of_bytes(bytes([number]))
    return oci.Layer(content, content.digest, created, f"layer {number}", "gzip: test")


def test_the_configuration_says_how_a_container_starts() -> None:
    config = oci.Config(
        architecture="arm64",
        user="www-data:www-data",
        environment={"PATH": "/bin", "LANG": "C"},
        entrypoint=("/bin/a",),
        command=("-b",),
        ports=("80/tcp",),
        volumes=("/data",),
        working_directory="/data",
        stop_signal="SIGQUIT",
        labels={"title": "é"},
    )
    written = oci.config_bytes(config, [_layer(1, CREATED - 5), _layer(2)])
    value = json.loads(written)
    assert value["config"] == {
        "User": "www-data:www-data",
        "Env": ["LANG=C", "PATH=/bin"],
        "Entrypoint": ["/bin/a"],
        "Cmd": ["-b"],
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "WorkingDir": "/data",
        "StopSignal": "SIGQUIT",
        "Labels": {"title": "é"},
    }
    assert (value["created"], value["architecture"], value["os"]) == ("2023-11-14T22:13:20Z", "arm64", "linux")
    assert value["rootfs"]["diff_ids"] == [str(_layer(1).diff_id), str(_layer(2).diff_id)]
    assert [line["created_by"] for line in value["history"]] == ["layer 1", "layer 2"]


def test_what_is_not_set_is_not_written() -> None:
    assert json.loads(oci.config_bytes(oci.Config(), [_layer(1)]))["config"] == {}


def test_the_manifest_names_every_blob_with_its_type() -> None:
    config = digest.Descriptor.of_bytes(b"config")
    value = json.loads(oci.manifest_bytes(config, [_layer(1), _layer(2)]))
    assert value["schemaVersion"] == 2
    assert value["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert value["config"]["digest"] == str(config.digest)
    assert [row["size"] for row in value["layers"]] == [1, 1]
    assert {row["mediaType"] for row in value["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_the_bytes_do_not_depend_on_the_order_of_a_mapping() -> None:
    one = oci.Config(environment={"A": "1", "B": "2"}, labels={"a": "1", "b": "2"})
    two = oci.Config(environment={"B": "2", "A": "1"}, labels={"b": "2", "a": "1"})
    assert oci.config_bytes(one, [_layer(1)]) == oci.config_bytes(two, [_layer(1)])


def test_the_folder_holds_manifest_version_and_blobs_once() -> None:
    blobs = [digest.Descriptor.of_bytes(b"config"), _layer(1).blob, _layer(1).blob]
    manifest, version = digest.Descriptor.of_bytes(b"m"), digest.Descriptor.of_bytes(oci.DIRECTORY_VERSION)
    found = oci.directory("nginx", "1.22.1", manifest, version, blobs)
    assert {entry.path.removeprefix("images/nginx/1.22.1/") for entry in found} == {
        "manifest.json",
        "version",
        blobs[0].digest.hex,
        blobs[1].digest.hex,
    }


@pytest.mark.parametrize(
    ("name", "tag"), [("Nginx", "1"), ("../x", "1"), ("a//b", "1"), ("", "1"), ("a", ""), ("a", "-1"), ("a", "x" * 129)]
)
def test_names_that_no_registry_serves_are_refused(name: str, tag: str) -> None:
    content = digest.Descriptor.of_bytes(b"")
    with pytest.raises(errors.BuildchainError, match="is not a name and tag that a registry can serve"):
        oci.directory(name, tag, content, content, [])


def test_a_layout_is_a_view_of_directories(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path / "store")
    blob, version = source.add_bytes(b"blob"), source.add_bytes(oci.DIRECTORY_VERSION)
    manifest = source.add_bytes(oci.manifest_bytes(blob, []))
    image = oci.directory("pause", "3.6", manifest, version, [blob]).below("images/pause/3.6")
    view = {file.path: file.content for file in oci.layout({"host/a/pause:3.6": image}, source).files()}
    blobs = {f"blobs/sha256/{content.digest.hex}": content for content in (blob, manifest)}
    assert view.keys() == {"oci-layout", "index.json", *blobs}
    assert view.items() >= blobs.items()
    (row,) = json.loads(source.read(view["index.json"].digest))["manifests"]
    assert row == {
        "mediaType": oci.MANIFEST_TYPE,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "annotations": {"org.opencontainers.image.ref.name": "host/a/pause:3.6"},
    }
