"""A folder of image recipes, a store, and packages to build them of; without pytest, whose import takes a second."""

import dataclasses
import gzip
import io
import pathlib
import tarfile
import typing

from buildchain import image, lock, store
from buildchain.rootfs import exclusions
from tests.support import packages

PASSWD = b"root:*:0:0:root:/root:/bin/bash\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n"
GROUP = b"root:*:0:\nwww-data:*:33:\n"

BASE: dict[str, bytes] = {
    "base-passwd": packages.make_deb(
        {"Package": "base-passwd"},
        {"./usr/share/base-passwd/passwd.master": PASSWD, "./usr/share/base-passwd/group.master": GROUP},
        built=1000,
    ),
    "ca-certificates": packages.make_deb(
        {"Package": "ca-certificates"},
        {
            "./usr/share/ca-certificates/mozilla/b.crt": b"second\n",
            "./usr/share/ca-certificates/mozilla/a.crt": b"first",
            "./usr/share/ca-certificates/mozilla/README": b"not a certificate",
        },
        built=2000,
    ),
}
APP: dict[str, bytes] = {
    "app": packages.make_deb(
        {"Package": "app", "Depends": "libapp1 (>= 1)"},
        {
            "./usr/bin/app": packages.Member(packages.make_elf(["libapp.so.1"]), 0o755),
            "./etc/app.conf": b"default\n",
            "./usr/share/doc/app/copyright": b"free\n",
        },
        built=3000,
        md5sums="0" * 32 + "  usr/bin/app\n" + "1" * 32 + "  usr/share/doc/app/README\n",
    ),
    "libapp1": packages.make_deb(
        {"Package": "libapp1"}, {"./usr/lib/x86_64-linux-gnu/libapp.so.1": packages.make_elf()}, built=2500
    ),
}
ALL = BASE | APP


@dataclasses.dataclass
class Workshop:
    """A folder of recipes, a store, and packages in it."""

    root: pathlib.Path
    source: store.Store

    def write(self, name: str, recipe: str) -> pathlib.Path:
        path = self.root / name / "image.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(recipe)
        return path

    def locked(self, *debs: dict[str, bytes]) -> tuple[lock.Package, ...]:
        return tuple(sorted(packages.add(self.source, deb, name) for each in debs for name, deb in each.items()))

    def stages(self, name: str, *debs: dict[str, bytes]) -> list[image.Stage]:
        chain = image.load_chain(self.root, name)
        return [image.Stage(recipe, self.locked(each)) for recipe, each in zip(chain, debs, strict=True)]

    def build(
        self,
        recipe: str,
        debs: dict[str, bytes],
        policy: image.Policy | None = None,
        excluded: tuple[exclusions.Exclusion, ...] = (),
    ) -> image.Image:
        self.write("app", recipe)
        return image.build(self.stages("app", debs), self.source, policy or image.Policy({}), excluded)

    def layer(self, layer: typing.Any) -> dict[str, tarfile.TarInfo]:
        packed = gzip.decompress(self.source.read(layer.blob.digest))
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            return {member.name: member for member in archive}

    def file(self, built: image.Image, path: str) -> bytes:
        for layer in reversed(built.layers):
            packed = gzip.decompress(self.source.read(layer.blob.digest))
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                if path in archive.getnames():
                    stream = archive.extractfile(path)
                    assert stream is not None
                    return stream.read()
        raise AssertionError(f"no {path}")
