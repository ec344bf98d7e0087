# sos plugin: the state of MetalK8s on this node. Python 3.9 and later, sos 4.
"""Plugin `metalk8s`."""

import os

from sos.report.plugins import DebianPlugin, Plugin, RedHatPlugin, UbuntuPlugin

try:
    from sos.report.plugins import PluginOpt
except ImportError:  # before sos 4.2, which Debian 12 has: name, description, speed, default

    def PluginOpt(name, default, desc, **_):  # noqa: N802 - the name that sos gave it
        """An option as sos 4.0 wants it."""
        return (name, desc, "slow", default)


ADMIN = "/etc/kubernetes/admin.conf"

UNITS = (
    "kubelet",
    "metalk8s-certificates",
    "metalk8s-etcd",
    "metalk8s-firewall",
    "metalk8s-repositories",
    "metalk8s-salt-api",
    "metalk8s-salt-master",
)
CLUSTER_WIDE = (
    "namespaces",
    "nodes",
    "persistentvolumes",
    "storageclasses",
    "customresourcedefinitions",
    "clusterroles",
    "clusterrolebindings",
)
NAMESPACED = (
    "configmaps",
    "daemonsets",
    "deployments",
    "endpoints",
    "events",
    "ingresses",
    "jobs",
    "pods",
    "services",
    "statefulsets",
)


class MetalK8s(Plugin, RedHatPlugin, DebianPlugin, UbuntuPlugin):
    """What MetalK8s installed and runs; never a secret, a key or a token."""

    short_desc = "MetalK8s"
    plugin_name = "metalk8s"
    profiles = ("container", "kubernetes")
    files = ("/etc/metalk8s", "/etc/kubernetes", ADMIN)

    option_list = [  # noqa: RUF012 - sos wants a list
        PluginOpt("all", default=False, desc="also describe every pod and collect its log"),
        PluginOpt("last", default=500, desc="lines of each pod's log", val_type=int),
    ]

    def setup(self):
        """Collect files, units and, on a control plane node, the cluster's objects."""
        self.add_forbidden_path(
            [
                "/etc/kubernetes/pki/*.key",
                "/etc/kubernetes/pki/*/*.key",
                "/etc/kubernetes/*.conf",
                "/etc/metalk8s/pki",
                "/etc/metalk8s/salt",
                "/etc/metalk8s/crypt",
            ]
        )
        self.add_copy_spec(
            [
                "/etc/metalk8s",
                "/etc/kubernetes",
                "/etc/systemd/system/kubelet.service.d",
                "/var/lib/metalk8s/repositories/conf.d",
                "/var/lib/kubelet/config.yaml",
                "/srv/scality/*/product.txt",
                "/var/log/metalk8s",
                "/var/log/pods/kube-system_*/*/*.log",
                "/var/log/pods/metalk8s-*/*/*.log",
            ]
        )
        for unit in UNITS:
            self.add_journal(units=unit)
            self.add_cmd_output(f"systemctl cat {unit}")
        self.add_cmd_output(["findmnt --types iso9660", "ls -l /srv/scality", "sha256sum /srv/scality/*/SHA256SUM"])
        if os.path.exists(ADMIN):  # noqa: PTH110 - sos is written so
            self._collect_cluster()

    def postproc(self):
        """Hide the passwords of proxies."""
        self.do_path_regex_sub("/etc/metalk8s/.*", r"(://[^\s/:@]*:)[^\s/@]+@", r"\1********@")

    def _collect_cluster(self):
        kubectl = f"kubectl --kubeconfig={ADMIN}"
        self.add_cmd_output([f"{kubectl} version", f"{kubectl} cluster-info", f"{kubectl} top nodes"])
        for kind in CLUSTER_WIDE:
            self.add_cmd_output(f"{kubectl} get {kind} -o yaml", subdir="cluster")
        for kind in NAMESPACED:
            self.add_cmd_output(f"{kubectl} get {kind} --all-namespaces -o wide", subdir="cluster")
        if self.get_option("all"):
            self._collect_pods(kubectl)

    def _collect_pods(self, kubectl):
        columns = "--no-headers -o custom-columns=:metadata.namespace,:metadata.name"
        listed = self.collect_cmd_output(f"{kubectl} get pods --all-namespaces {columns}", subdir="pods")
        if listed["status"] != 0:
            return
        for line in listed["output"].splitlines():
            words = line.split()
            if len(words) == 2:
                where = f"--namespace={words[0]} {words[1]}"
                lines = self.get_option("last")
                self.add_cmd_output(f"{kubectl} describe pod {where}", subdir="pods")
                self.add_cmd_output(f"{kubectl} logs --all-containers --tail={lines} {where}", subdir="pods")
