"""Solutions: a project of one `solution.yaml` becomes a signed, reproducible ISO that MetalK8s imports.

solution.yaml ──project──▶ Project ──inputs (lock, pull)──▶ Inputs ──kinds──▶ images ─┐
operator/deploy ──────────────────────────────────────────────────────────────────────┼─medium──▶ NAME-VERSION.iso
manifest, registry configuration ─────────────────────────────────────────────────────┘
"""

import re

from buildchain import errors
from buildchain.solution import context, inputs, manifest, medium, project

Context = context.Context
Built = medium.Built
load = context.load
load_project = project.load
write_lock = inputs.write_lock
build = medium.build
Manifest = manifest.Manifest
dump_manifest = manifest.dump

# What the same parts say when ./doit.sh calls them.
_WORDS = {
    r"\./doit\.sh lock NAME\.\.\.": "buildchain solution lock",
    r"\./doit\.sh lock": "buildchain solution lock",
    r"\./doit\.sh": "buildchain solution build",
    r"distribution\.lock\.json": project.LOCK_NAME,
    r"distribution\.yaml": project.FILE_NAME,
    r" in \.env": " in the environment",
    r"Mend \.env; \.env\.example describes every setting\.": "Mend these variables of the environment.",
    r"PROJECT_NAME and VERSION": "display-name and version",
    r"the distribution\b": "the Solution",
}


def in_own_words(error: errors.BuildchainError | str) -> str:
    """An error as a Solution's author can act on it: parts that two commands share name the other one's."""
    text = str(error)
    for pattern, words in _WORDS.items():
        text = re.sub(pattern, words, text)
    return text
