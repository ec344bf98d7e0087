"""What Salt's master and its minions know each other by."""

import hashlib
import pathlib
import typing

from tests.support import salt_tree, states

STATE = salt_tree.ROOT / "salt/_states/metalk8s_salt.py"


class Host:
    """Keeps what `file.managed` is asked for, and writes it unless the run only tests."""

    def __init__(self, *, is_test: bool = False, keys: dict[str, str] | None = None) -> None:
        self.is_test, self.keys = is_test, keys or {}
        self.asked: dict[str, dict[str, typing.Any]] = {}

    def state(self, function: str, *arguments: object, **named: object) -> dict[str, typing.Any]:
        module = states.load_module(
            STATE,
            __opts__={"test": self.is_test},
            __salt__={"x509.get_public_key": self._public},
            __states__={"file.managed": self._managed},
        )
        result: dict[str, typing.Any] = getattr(module, function)(*arguments, **named)
        assert set(result) == {"name", "result", "comment", "changes"}
        return result

    def _public(self, path: str) -> str:
        if path not in self.keys:
            raise states.SaltInvocationError("no such key")
        return self.keys[path]

    def _managed(self, name: str, contents: str, **rights: object) -> dict[str, typing.Any]:
        self.asked[name] = rights
        path = pathlib.Path(name)
        is_same = path.exists() and path.read_text() == contents + "\n"
        if not is_same and not self.is_test:
            path.write_text(contents + "\n")
        result = True if is_same or not self.is_test else None
        return {"name": name, "result": result, "comment": "", "changes": {} if is_same else {"diff": "hidden"}}


def test_a_file_holds_the_public_half_of_a_key(tmp_path: pathlib.Path) -> None:
    host = Host(keys={"/pki/master.pem": "PUBLIC"})
    path = str(tmp_path / "master.pub")
    done = host.state("public_key", path, "/pki/master.pem", user=903, group=903)
    assert (done["result"], (tmp_path / "master.pub").read_text()) == (True, "PUBLIC\n")
    assert (host.asked[path]["user"], host.asked[path]["mode"]) == (903, "0644")


def test_a_key_that_is_not_there_is_a_failure_but_not_in_a_test_run() -> None:
    failed = Host().state("public_key", "/a.pub", "/a.pem", user="root", group="root")
    assert (failed["result"], failed["comment"]) == (False, "/a.pem: no such key")
    assert Host(is_test=True).state("public_key", "/a.pub", "/a.pem", user="root", group="root")["result"] is None


def test_an_account_keeps_its_password(tmp_path: pathlib.Path) -> None:
    users, password = tmp_path / "users", tmp_path / "password"
    host = Host()
    first = host.state("account", "admin", str(users), str(password), 903)
    text = password.read_text().strip()
    assert len(text) >= 43
    assert users.read_text() == f"admin:{hashlib.sha512(text.encode()).hexdigest()}\n"
    assert first["changes"] == {str(users): "written", str(password): "written"}
    assert text not in str(first)
    rights = {name: (asked["mode"], asked["group"], asked["show_changes"]) for name, asked in host.asked.items()}
    assert rights == {str(password): ("0600", "root", False), str(users): ("0640", 903, False)}
    second = host.state("account", "admin", str(users), str(password), 903)
    assert (second["result"], second["changes"], password.read_text().strip()) == (True, {}, text)


def test_an_empty_password_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "password").write_text("\n")
    Host().state("account", "admin", str(tmp_path / "users"), str(tmp_path / "password"), 903)
    assert len((tmp_path / "password").read_text().strip()) >= 43


def test_a_test_run_makes_no_account(tmp_path: pathlib.Path) -> None:
    done = Host(is_test=True).state("account", "admin", str(tmp_path / "users"), str(tmp_path / "password"), 903)
    assert done["result"] is None
    assert done["changes"]
    assert list(tmp_path.iterdir()) == []
