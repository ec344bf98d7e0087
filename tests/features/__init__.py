"""What an operator can rely on: the features, and the modules that hold their steps.

A scenario's tags say where it is tried: `container` in tests/end_to_end/test_node.py, `vm` in tests/vm/test_vm.py.
"""

import pathlib

FOLDER = pathlib.Path(__file__).parent
STEPS = [f"tests.features.steps.{path.stem}" for path in sorted(FOLDER.glob("steps/[!_]*.py"))]
