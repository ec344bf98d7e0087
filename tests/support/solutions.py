"""Small Solutions as values: a good one, made without the makers' code, and what tests do to it."""

import functools
import gzip
import hashlib
import io
import json
import pathlib
import tarfile
import typing

import static_container_registry
from buildchain import lock
from buildchain.solution import inputs, project, scaffold
from tests.support import keys, medium

GROUP = "solutions.metalk8s.scality.com"
MANIFEST = f"""\
apiVersion: {GROUP}/v1alpha1
kind: Solution
metadata:
  annotations:
    {GROUP}/build-timestamp: '2026-01-02T03:04:05Z'
    {GROUP}/development-release: '0'
    {GROUP}/display-name: My App
    {GROUP}/git-revision: 0123456789abcdef
    {GROUP}/operator-options: --config
  labels:
    team: storage
  name: my-app
spec:
  customApiGroups:
  - my-app.example.com
  images:
  - base-server:1.2
  - my-app-operator:1.0.0
  operator:
    image:
      name: my-app-operator
      tag: 1.0.0
  version: 1.0.0
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: apps.my-app.example.com
spec:
  group: my-app.example.com
  scope: Namespaced
  names:
    kind: App
    plural: apps
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
"""
ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: my-app-operator
rules:
  - apiGroups: [my-app.example.com]
    resources: [apps]
    verbs: [get]
  - apiGroups: ['']
    resources: [services]
    verbs: [create]
  - apiGroups: [monitoring.coreos.com]
    resources: [servicemonitors]
    verbs: [create]
"""
CRD_PATH = "operator/deploy/crds/app_crd.yaml"
ROLE_PATH = "operator/deploy/role.yaml"
CONFIG_PATH = "registry-config.inc.j2"
OPERATOR = "images/my-app-operator/1.0.0"
SERVER = "images/base-server/1.2"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"

Files = dict[str, bytes]


def layer(program: str) -> bytes:
    """A layer with one program."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(program)
        member.mode, member.size = 0o755, 5000
        archive.addfile(member, io.BytesIO(program.encode().ljust(5000, b"x")))
    return gzip.compress(buffer.getvalue(), mtime=0)


def image(root: str, program: str, **changes: object) -> Files:
    """The folder of an image; `changes` are keys of its configuration's `config`."""
    runtime = {"User": "1000", "Entrypoint": [f"/{program}"], "Labels": {"a": "b"}, **changes}
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": runtime}).encode()
    blobs = [config, layer(program)]
    rows = [{"digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)} for blob in blobs]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": rows[0], "layers": rows[1:]}
    files = {f"{root}/{hashlib.sha256(blob).hexdigest()}": blob for blob in blobs}
    files[f"{root}/manifest.json"] = json.dumps(manifest).encode()
    return files | {f"{root}/version": b"Directory Transport Version: 1.1\n"}


def registry(files: Files) -> bytes:
    """The registry's configuration of what is below `images/`."""
    images = {path.removeprefix("images/"): content for path, content in files.items() if path.startswith("images/")}
    listing = static_container_registry.read({path: len(images[path]) for path in images}, images.__getitem__)
    options = static_container_registry.Options("{{ registry_root }}", "{{ repository }}", has_constants=False)
    return static_container_registry.render(listing, options).encode()


def good() -> Files:
    """A Solution that breaks no rule."""
    return dict(_good())


@functools.cache
def _good() -> Files:
    files = image(OPERATOR, "usr/bin/my-app-operator") | image(SERVER, "usr/bin/server")
    files |= {"manifest.yaml": MANIFEST.encode(), CRD_PATH: CRD.encode(), ROLE_PATH: ROLE.encode()}
    return files | {CONFIG_PATH: registry(files)}


class _NoKey:
    """What signs nothing: lint does not look at signatures."""

    public = b"key"

    def sign(self, content: bytes) -> bytes:
        return b"signature"


def seal(files: Files) -> medium.Entries:
    """The same with listings, unless they are there."""
    entries: medium.Entries = {path: medium.File(content) for path, content in files.items()}
    return medium.seal(entries, typing.cast(keys.Key, _NoKey())) | entries


def stage(files: Files, root: pathlib.Path) -> pathlib.Path:
    """Write it into a folder that is not there yet."""
    return medium.stage(seal(files), root)


def write_project(root: pathlib.Path) -> pathlib.Path:
    """A new project with a lock that covers it and names no packages."""
    scaffold.init("my-app", root)
    loaded = project.load(root)
    sets = [
        lock.PackageSet(each.name, each.architecture, each.words, (), each.archives)
        for each in inputs.requests(loaded, inputs.chains(loaded))
    ]
    (root / project.LOCK_NAME).write_bytes(lock.dump(lock.Lock(sets=tuple(sets))))
    return root
