"""Which packages the wheel holds: those found, and two folders of data; all else stands in pyproject.toml."""

import setuptools

setuptools.setup(
    packages=[
        # The tasks of doit work in a checkout alone.
        *setuptools.find_packages(include=["buildchain*"], exclude=["buildchain.tasks*"]),
        "buildchain.keys",
        "buildchain.recipes",
        "static_container_registry",
    ],
    # What lint asks on the node's behalf.
    py_modules=["buildchain.node.metalk8s_registry"],
)
