"""What is asked of a bootstrap node: its configuration, its registry, its servers, Salt and etcd."""

import json
import time
import typing
import uuid

from tests.support import hosts

CONFIGURATION = "/etc/metalk8s/bootstrap.yaml"
COMMENT = "# What an operator writes beside it stays."
LOG = "/var/log/metalk8s/bootstrap.log"
UPSTREAM = "deb.example.invalid"
"""What apt asks on an installed Debian."""
REGISTRY = "metalk8s-registry-from-config.invalid"
CA = "/etc/metalk8s/pki/repositories/ca.crt"
SALT_CA = "/etc/metalk8s/pki/salt/ca.crt"
ETCD_CA = "/etc/metalk8s/pki/etcd/ca.crt"
PYTHON = "python3.11"
"""What Salt runs on: no other comes with it."""
REPOSITORIES, ETCD, SALT, API = 8080, 2379, 4506, 4507
"""The ports of what is served."""
IN_MASTER = ("ctr", "--namespace=metalk8s", "tasks", "exec")

_CONFIGURATION = """\
apiVersion: metalk8s.scality.com/v1alpha2
kind: BootstrapConfiguration
{comment}
networks:
  controlPlane: {subnet}
  workloadPlane: {subnet}
ca:
  minion: bootstrap
archives:
  - {archive}
proxies: {{}}
"""
_CALL = """\
import json, ssl, sys, urllib.error, urllib.request
url, authority, body, token = sys.argv[1:]
headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": token}
request = urllib.request.Request(url, body.encode(), headers)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=authority)).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
_GET = (
    "import ssl, sys, urllib.request; "
    "urllib.request.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2] or None)).read()"
)


def point_upstream(host: hosts.Host) -> None:
    """Have apt ask an upstream that is not there, as an installed Debian does."""
    host.write("/etc/apt/sources.list", f"deb http://{UPSTREAM}/debian bookworm main\n")


def configure(host: hosts.Host, subnet: object, archive: str) -> None:
    """Write the configuration that an operator writes."""
    host.write(CONFIGURATION, _CONFIGURATION.format(comment=COMMENT, subnet=subnet, archive=archive))


def images(host: hosts.Host, medium: hosts.Medium) -> list[str]:
    """The images of a medium, by the names under which the registry has them."""
    found = host.run("sh", "-c", f"cd {medium.place}/images && ls -d */*/").split()
    return [f"{REGISTRY}/{medium.name}/{folder.rstrip('/').replace('/', ':')}" for folder in found]


def pull(host: hosts.Host, image: str) -> hosts.Done:
    """Have containerd pull an image through the registry."""
    options = ["--namespace=pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d"]
    return host.attempt("ctr", *options, image)


def forget_images(host: hosts.Host) -> None:
    """Leave nothing of an earlier pull."""
    host.run("sh", "-c", "ctr -n pulled images ls -q | xargs -r ctr -n pulled images rm --sync")


def packages_url(host: hosts.Host, release: str) -> str:
    """Where a host without the medium has the packages from."""
    return f"https://{host.ip}:{REPOSITORIES}/metalk8s-{release}/debian/metalk8s-debian-12"


def get(host: hosts.Host, url: str, authority: str = CA) -> hosts.Done:
    """Read an address on the host, as one who trusts an authority."""
    return host.attempt(PYTHON, "-c", _GET, url, authority)


def salt(host: hosts.Host, *argv: str) -> typing.Any:
    """What Salt's master says, by its own client."""
    program = ["metalk8s-salt-master", "/usr/bin/salt", "--timeout=60", "--static", "--out=json", *argv]
    return json.loads(host.run(*IN_MASTER, f"--exec-id={uuid.uuid4()}", *program))


def wait_for_minion(host: hosts.Host) -> None:
    """Wait until its own minion answers the master."""
    for _ in range(30):
        if salt(host, "--timeout=2", "bootstrap", "test.ping") == {"bootstrap": True}:
            return
        time.sleep(1)
    raise AssertionError(host.run("journalctl", "--no-pager", "--unit=metalk8s-salt-master"))


def api(host: hosts.Host, path: str, body: object, token: str = "") -> typing.Any:
    """What Salt's API answers, or its status if that is an error."""
    url = f"https://{host.ip}:{API}{path}"
    return json.loads(host.run(PYTHON, "-c", _CALL, url, SALT_CA, json.dumps(body), token))


def etcdctl(host: hosts.Host, *argv: str, certificate: str | None = "peer") -> hosts.Done:
    """Ask etcd with a certificate of its own, or with none."""
    client = ["ctr", "--namespace=metalk8s", "tasks", "exec", f"--exec-id={uuid.uuid4()}", "metalk8s-etcd", "etcdctl"]
    client += [f"--endpoints=https://{host.ip}:{ETCD}", f"--cacert={ETCD_CA}"]
    if certificate:
        pki = f"/etc/metalk8s/pki/etcd/{certificate}/tls"
        client += [f"--cert={pki}.crt", f"--key={pki}.key"]
    return host.attempt(*client, *argv)
