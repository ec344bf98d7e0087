"""The Operators that ship as examples, against a fake of the Kubernetes API."""

import http
import io
import pathlib
import types
import typing
import urllib.error

import pytest

from buildchain.solution import scaffold

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = {
    "repositories": {
        "1.0": [{"endpoint": "registry/app-1.0", "images": ["other:1", "my-app-operator:1.0"]}],
        "2.0": [{"endpoint": "registry/app-2.0", "images": []}],
    }
}


def operator(text: str) -> types.ModuleType:
    module = types.ModuleType("operator_of_a_solution")
    exec(compile(text, "operator.py", "exec"), module.__dict__)  # noqa: S102 — it is what the image runs
    return module


@pytest.fixture
def new(tmp_path: pathlib.Path) -> types.ModuleType:
    scaffold.init("my-app", tmp_path / "p")
    return operator((tmp_path / "p/images/operator/operator.py").read_text())


class Cluster:
    """Remembers what it was asked, and has one resource."""

    def __init__(self, spec: dict[str, object], *, has_deployment: bool) -> None:
        self.asked: list[tuple[str, str]] = []
        self.made: dict[str, typing.Any] = {}
        self._items = {"items": [{"metadata": {"name": "one", "uid": "u"}, "spec": spec}]}
        self._has_deployment = has_deployment

    def __call__(self, method: str, path: str, body: object = None) -> object:
        self.asked.append((method, path))
        if method == "GET":
            return self._items
        if method == "PATCH" and not self._has_deployment:
            raise urllib.error.HTTPError(path, http.HTTPStatus.NOT_FOUND, "", {}, io.BytesIO())  # type: ignore[arg-type]
        assert isinstance(body, dict)
        self.made = body
        return body


@pytest.mark.parametrize(("has_deployment", "last"), [(True, "PATCH"), (False, "POST")])
def test_each_resource_has_its_deployment(new: types.ModuleType, has_deployment: bool, last: str) -> None:
    cluster = Cluster({"text": "hello", "version": "1.0"}, has_deployment=has_deployment)
    new.reconcile(cluster, "space", CONFIG)
    assert cluster.asked[0] == ("GET", "/apis/my-app.example.com/v1alpha1/namespaces/space/myapps")
    assert cluster.asked[-1][0] == last
    (container,) = cluster.made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry/app-1.0/my-app-operator:1.0"
    assert container["args"] == ["--serve", "hello"]
    assert cluster.made["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_an_unknown_version_is_told_and_stops_nothing(
    new: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster({"text": "hello", "version": "2.0"}, has_deployment=True)
    new.reconcile(cluster, "space", CONFIG)
    assert [method for method, _ in cluster.asked] == ["GET"]
    assert "has no image my-app-operator of version 2.0" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_the_examples_read_the_version_that_their_crd_stores(version: str) -> None:
    root = ROOT / "examples/solution" / version
    module = operator((root / "images/operator/operator.py").read_text())
    crd = (root / "operator/deploy/crds/examplesolution_crd.yaml").read_text()
    stored = crd[: crd.index("storage: true")].rpartition("- name: ")[2].split()[0]
    assert stored == module.VERSION
