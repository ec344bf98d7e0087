"""Who made a Debian source: the signature of its .dsc, judged by the key that the recipe declares.

The sums in the .dsc, which dpkg-source(1) compares with the other files, are worth what this signature is.
"""

from buildchain import command, errors, signing, store
from buildchain.builder import recipe

_START = b"-----BEGIN PGP SIGNED MESSAGE-----"


def check(wanted: recipe.Recipe, source: store.Store) -> None:
    """Judge the .dsc of a recipe, if it has one; the store holds it.

    Raises:
        BuildchainError: it is not signed, not as it was signed, or signed by another key.
        ToolError:       gpg is missing.
    """
    for pulled in wanted.pulled:
        if pulled.name == wanted.dsc:
            _judge(wanted, source.read(pulled.content.digest))


def _judge(wanted: recipe.Recipe, dsc: bytes) -> None:
    if not dsc.startswith(_START):
        # gpg looks past it, and dpkg-source reads nothing else.
        raise _refused(wanted, "it begins with what no signature covers")
    with signing.private_home() as home:
        gpg = ["gpg", "--batch", "--no-tty", "--homedir", str(home), "--no-auto-key-retrieve"]
        try:
            command.run([*gpg, "--import"], stdin=wanted.dsc_key)
            command.run([*gpg, "--verify"], stdin=dsc)
        except errors.ToolError as error:
            if error.exit_code is None:
                raise
            raise _refused(wanted, error.output.strip()) from error


def _refused(wanted: recipe.Recipe, reason: str) -> errors.BuildchainError:
    why = f"{wanted.dsc} is not signed by the recipe's `dsc-key`\n  {reason}"
    hint = f"Compare packages/{wanted.name}.yaml with Debian's keyring, the package debian-keyring."
    return errors.BuildchainError(wanted.name, why, hint)
