"""Run a client to its end."""

import os
import subprocess


def run(*argv: str, **environment: str) -> str:
    """What a program wrote on its standard output; an AssertionError with its words when it fails."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "LC_ALL": "C", **environment}
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout
