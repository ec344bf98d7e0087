# sos plugin: what Salt knows of this node. Python 3.9 and later, sos 4.
"""Plugin `metalk8s_salt`; sos has two, `salt` and `saltmaster`, for the paths of other installations."""

from sos.report.plugins import DebianPlugin, Plugin, RedHatPlugin, UbuntuPlugin


class MetalK8sSalt(Plugin, RedHatPlugin, DebianPlugin, UbuntuPlugin):
    """Configuration, logs and grains of the minion and, on the bootstrap node, the master; never a key or a pillar."""

    short_desc = "Salt under MetalK8s"
    plugin_name = "metalk8s_salt"
    profiles = ("sysmgmt",)
    files = ("/etc/salt", "/opt/saltstack")
    packages = ("salt-minion", "salt-master")

    def setup(self):
        """Collect configuration, logs and versions."""
        self.add_forbidden_path(["/etc/salt/pki", "/etc/salt/pki/*"])
        self.add_copy_spec(["/etc/salt", "/var/log/salt"])
        for unit in ("salt-minion", "salt-master", "salt-api"):
            self.add_journal(units=unit)
        self.add_cmd_output(
            [
                "salt-call --local --versions-report",
                "salt-call --local --out=yaml grains.items",
                "salt-call --local --out=yaml config.items",
                "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --name salt-master",
                "salt-minion --version",
            ]
        )

    def postproc(self):
        """Hide what looks like a secret."""
        secret = r"(?i)((?:password|passphrase|token|secret|api_key)\s*[:=]\s*)\S+"  # noqa: S105 - a pattern
        self.do_path_regex_sub("/etc/salt/*", secret, r"\1********")
        self.do_cmd_output_sub("config.items", secret, r"\1********")
