"""States of what Salt's master and its minions know each other by."""

import hashlib
import pathlib
import secrets
import typing
from collections.abc import Callable

from salt.exceptions import CommandExecutionError, SaltInvocationError

__salt__: dict[str, Callable[..., typing.Any]]
__states__: dict[str, Callable[..., dict[str, typing.Any]]]
__opts__: dict[str, typing.Any]


def public_key(name: str, private_key: str, user: int | str, group: int | str) -> dict[str, typing.Any]:
    """A file holds the public half of a private key.

    Arguments:
        private_key: path of the private key.
    """
    try:
        public = __salt__["x509.get_public_key"](private_key)
    except (CommandExecutionError, SaltInvocationError, OSError) as error:
        # Before the first run there is no key; that says nothing against a test run.
        result = None if __opts__["test"] else False
        return {"name": name, "result": result, "comment": f"{private_key}: {error}", "changes": {}}
    return __states__["file.managed"](name, contents=public, user=user, group=group, mode="0644", makedirs=True)


def account(name: str, users: str, password: str, group: int | str) -> dict[str, typing.Any]:
    """An account of the API exists: its password in a file for root alone, and a digest of it where the master looks.

    The password is made once, of more chance than anybody can try; so the digest needs no salt.

    Arguments:
        users: the file of names and digests, as Salt's authentication `file` reads it.
        password: the file with the password.
        group: whose members may read `users`.
    """
    path = pathlib.Path(password)
    # What a run that was killed left empty is no password.
    text = (path.read_text().strip() if path.exists() else "") or secrets.token_urlsafe(32)
    made = _write(password, text, "0600", "root")
    if made["result"] is False:
        return {**made, "name": name}
    digest = hashlib.sha512(text.encode()).hexdigest()
    done = _write(users, f"{name}:{digest}", "0640", group)
    changes = {path: "written" for path, state in ((password, made), (users, done)) if state["changes"]}
    results = (made["result"], done["result"])
    result = False if False in results else None if None in results else True
    return {"name": name, "result": result, "comment": str(done["comment"]), "changes": changes}


def _write(path: str, text: str, mode: str, group: int | str) -> dict[str, typing.Any]:
    """Without a difference in what is reported: it would show what was there and what is."""
    return __states__["file.managed"](
        path, contents=text, user="root", group=group, mode=mode, makedirs=True, show_changes=False
    )
