"""A folder of recipes with Dockerfiles, and a base made of packages to stand on."""

import dataclasses
import pathlib
from collections.abc import Mapping

from buildchain import dockerfile, image, store
from tests.support import packages

BUSYBOX = pathlib.Path("/bin/busybox")


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Recipes in a folder, and a store."""

    root: pathlib.Path
    source: store.Store

    def base(self, program: bytes = b"") -> dockerfile.Base:
        """The image base:1, of one package; `program` is its shell."""
        recipe = self.root / "base" / "image.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text("packages: [busybox-static]\nenvironment: {PATH: /bin}\n")
        deb = packages.make_deb(
            {"Package": "busybox-static"},
            {
                "./bin/busybox": packages.Member(program, 0o755),
                "./bin/sh": packages.link("busybox"),
                "./etc/group": b"root:x:0:\n",
                "./etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
                "./srv/old": b"old\n",
                "./srv/folder/file": b"file\n",
            },
        )
        locked = packages.add(self.source, deb, "busybox-static")
        stage = image.Stage(image.load(recipe), (locked,))
        return dockerfile.Base("1", image.build([stage], self.source, image.Policy({}), ()).manifest)

    def recipe(
        self, text: str, files: Mapping[str, str] | None = None, options: str = "", name: str = "app"
    ) -> dockerfile.Recipe:
        """Write a recipe, and load it."""
        directory = self.root / name
        written = {"Dockerfile": text, **(files or {}), **({"build.yaml": options} if options else {})}
        for path, content in written.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(content)
        return dockerfile.load(directory, [f"images/{name}/{path}" for path in written])
