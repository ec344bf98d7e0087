"""Steps of certificates.feature."""

import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts

_CERTIFICATE = "/etc/metalk8s/pki/salt/api/tls.crt"
_SHOWN = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))"


@bdd.given(bdd.parsers.parse("the certificate of Salt's API ends in {days:d} days"), target_fixture="before")
def ends_soon(node: hosts.Host, days: int) -> dict[str, str]:
    """All certificates as they are then."""
    issue = ["salt-call", "--local", "--retcode-passthrough", "x509.create_certificate", f"path={_CERTIFICATE}"]
    issue += ["signing_private_key=/etc/metalk8s/pki/salt/ca.key", f"signing_cert={bootstrap_node.SALT_CA}"]
    issue += ["CN=short", f"days_valid={days}", "private_key=/etc/metalk8s/pki/salt/api/tls.key", "overwrite=True"]
    node.run(*issue)
    return _certificates(node)


@bdd.when("the daily check of the certificates runs")
def check(node: hosts.Host) -> None:
    node.run("systemctl", "start", "metalk8s-certificates.service")


@bdd.then(bdd.parsers.parse("the certificate of Salt's API is good for another {days:d} days"))
def is_good(node: hosts.Host, days: int) -> None:
    asked = node.run("salt-call", "--local", "--out=txt", "x509.expires", _CERTIFICATE, f"days={days}")
    assert asked == "local: False\n"


@bdd.then("Salt's API shows it")
def is_shown(node: hosts.Host) -> None:
    shown = node.run(bootstrap_node.PYTHON, "-c", _SHOWN, node.ip, str(bootstrap_node.API))
    assert shown.split() == node.run("cat", _CERTIFICATE).split()


@bdd.then("no other certificate was changed")
def others_are_the_same(node: hosts.Host, before: dict[str, str]) -> None:
    after = _certificates(node)
    assert {path for path in before | after if before.get(path) != after.get(path)} == {_CERTIFICATE}


def _certificates(node: hosts.Host) -> dict[str, str]:
    """The digest of each, by its path."""
    lines = node.run("find", "/etc/metalk8s/pki", "-name", "*.crt", "-exec", "sha256sum", "{}", "+").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}
