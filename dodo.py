"""The tasks of the buildchain, for doit."""

from buildchain.tasks import context
from buildchain.tasks.building import task__build_deb_packages, task__build_rpm_packages, task__builder
from buildchain.tasks.images import task__bootstrap_images, task_images, task_prove
from buildchain.tasks.iso import (
    task__build_root,
    task__documentation,
    task__iso_build,
    task__iso_digest,
    task__iso_stage,
    task__iso_tree,
    task__product,
    task__registry,
    task_iso,
    task_populate_iso,
)
from buildchain.tasks.lock import task_lock
from buildchain.tasks.packaging import task__licences, task_packaging
from buildchain.tasks.pull import task__pull
from buildchain.tasks.quality import (
    task__test_tools,
    task__test_vm,
    task_bench,
    task_deps,
    task_documentation,
    task_format,
    task_lint,
    task_test,
)
from buildchain.tasks.reporter import Reporter
from buildchain.tasks.salt import task_salt_tree
from buildchain.tasks.tarball import task_tarball
from buildchain.tasks.vagrant import (
    task__vagrant_key,
    task__vagrant_snapshot,
    task__vagrant_tree,
    task_vagrant_box,
    task_vagrant_restore,
    task_vagrant_up,
)
from buildchain.tasks.verify import task_prune, task_store, task_verify
from buildchain.tasks.wheels import task__build_environments

DOIT_CONFIG = {
    "default_tasks": ["iso"],
    "dep_file": str(context.ROOT / ".doit.db"),
    "backend": "json",
    "reporter": Reporter,
    "par_type": "thread",
    "cleandep": True,
    "cleanforget": True,
}
