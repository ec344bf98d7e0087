"""Images as they stand in the store, and as `docker save` writes them."""

import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
import typing
from collections.abc import Mapping

from buildchain import digest, errors, oci, store
from buildchain.dockerfile import layers
from buildchain.engine import loopback

_GZIP = b"\x1f\x8b"
_GZIP_TYPES = {oci.LAYER_TYPE, "application/vnd.docker.image.rootfs.diff.tar.gzip"}


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """An image that a Dockerfile may stand on: its tag, and its manifest, which the store holds with all blobs."""

    tag: str
    manifest: digest.Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """What a base's manifest and configuration say."""

    media_type: str
    manifest: digest.Descriptor
    config_blob: digest.Descriptor
    config: Mapping[str, typing.Any]
    layers: tuple[digest.Descriptor, ...]

    @property
    def diff_ids(self) -> list[str]:
        """Digests of the layers, unpacked."""
        return list(self.config["rootfs"]["diff_ids"])

    def shipped(self) -> loopback.Shipped:
        """The same for the registry on the loopback."""
        return loopback.Shipped(self.media_type, self.manifest, (self.config_blob, *self.layers))


def open_base(name: str, base: Base, source: store.Store) -> Opened:
    """Read a base from the store.

    Raises:
        BuildchainError: it is not there, or is no image of gzip-compressed layers for one platform.
    """
    subject = f"image {name}:{base.tag}"
    try:
        manifest = json.loads(source.read(base.manifest.digest))
        if "layers" not in manifest:
            raise ValueError("it is an index of images; a Dockerfile stands on one of them")
        types = {row["mediaType"] for row in manifest["layers"]}
        if types - _GZIP_TYPES:
            raise ValueError(f"its layers are {', '.join(sorted(types))}, not gzip")
        config = _descriptor(manifest["config"])
        return Opened(
            media_type=manifest.get("mediaType", oci.MANIFEST_TYPE),
            manifest=base.manifest,
            config_blob=config,
            config=json.loads(source.read(config.digest)),
            layers=tuple(_descriptor(row) for row in manifest["layers"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise errors.BuildchainError(subject, f"no Dockerfile can stand on it: {error}") from error


def _descriptor(row: Mapping[str, typing.Any]) -> digest.Descriptor:
    return digest.Descriptor(digest.Digest.parse(row["digest"]), row["size"])


class Archive:
    """What an engine saved: configuration, digests of the unpacked layers, and the layers of one image."""

    def __init__(self, stream: typing.BinaryIO) -> None:
        """Look into the archive.

        Raises:
            LayerError: it is not what `docker save` writes.
        """
        stream.seek(0)
        try:
            self._archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115 - as open as its stream
            (row,) = json.loads(self._read("manifest.json"))
            self.config: Mapping[str, typing.Any] = json.loads(self._read(row["Config"]))
            self.architecture = str(self.config["architecture"])
            self.diff_ids = [str(each) for each in self.config["rootfs"].get("diff_ids") or ()]
            self._layers = [str(each) for each in row["Layers"]]
        except (ValueError, KeyError, TypeError, AttributeError, tarfile.TarError) as error:
            raise layers.LayerError(f"it is not a saved image: {error}") from error
        if len(self._layers) != len(self.diff_ids):
            raise layers.LayerError("it has not as many layers as digests")

    def layer(self, number: int) -> "Checked":
        """A layer, unpacked, as a stream that knows its digest."""
        return Checked(self._extract(self._layers[number]))

    def _read(self, name: str) -> bytes:
        return self._extract(name).read()

    def _extract(self, name: str) -> typing.IO[bytes]:
        found = self._archive.extractfile(name)
        if found is None:
            raise layers.LayerError(f"{name} is not a file")
        return found


class Checked(io.RawIOBase):
    """A layer, unpacked if it is packed, and the digest of what was read of it."""

    def __init__(self, stream: typing.Any) -> None:
        super().__init__()
        self._raw = stream
        is_packed = stream.read(len(_GZIP)) == _GZIP
        stream.seek(0)
        self._stream = gzip.GzipFile(fileobj=stream) if is_packed else stream
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        """It can be read."""
        return True

    def close(self) -> None:
        """Close the layer's own stream, too."""
        self._stream.close()
        self._raw.close()
        super().close()

    def readinto(self, buffer: typing.Any) -> int:
        """Read, and remember."""
        block = self._stream.read(len(buffer))
        self._hasher.update(block)
        buffer[: len(block)] = block
        return len(block)

    def finish(self) -> str:
        """Read to the end; the digest of it all."""
        while self.read(digest.BLOCK_SIZE):
            pass
        return f"sha256:{self._hasher.hexdigest()}"


def open_layer(layer: digest.Descriptor, source: store.Store) -> Checked:
    """A layer in the store, unpacked."""
    return Checked(source.open(layer.digest))
