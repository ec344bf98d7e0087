# sos plugin: what containerd holds and runs. Python 3.9 and later, sos 4.
"""Plugin `metalk8s_containerd`; sos has one named `containerd`, which collects its configuration."""

from sos.report.plugins import DebianPlugin, Plugin, RedHatPlugin, UbuntuPlugin

NAMESPACES = ("k8s.io", "metalk8s")


class MetalK8sContainerd(Plugin, RedHatPlugin, DebianPlugin, UbuntuPlugin):
    """containerd as MetalK8s uses it: images, containers and tasks of both namespaces, and the mirror."""

    short_desc = "containerd under MetalK8s"
    plugin_name = "metalk8s_containerd"
    profiles = ("container",)
    packages = ("containerd", "containerd.io")
    files = ("/etc/containerd/config.toml",)

    def setup(self):
        """Collect configuration, log and state."""
        self.add_copy_spec(["/etc/containerd", "/etc/cni/net.d", "/etc/crictl.yaml"])
        self.add_journal(units="containerd")
        self.add_cmd_output(["ctr version", "ctr plugins list", "ctr namespaces list", "runc --version"])
        for namespace in NAMESPACES:
            for kind in ("images", "containers", "tasks", "snapshots"):
                self.add_cmd_output(f"ctr --namespace {namespace} {kind} list")
        crictl = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock"
        for command in ("info", "images", "imagefsinfo", "pods", "ps --all", "stats --all"):
            self.add_cmd_output(f"{crictl} {command}")
        self.add_cmd_output("ls -lR /opt/cni/bin /usr/lib/cni /usr/libexec/cni")
