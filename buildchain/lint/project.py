"""Rules about a project's own files: `solution.yaml`, recipes, lock."""

import functools
import pathlib

from buildchain import errors, lock, solution
from buildchain.lint import declared, findings, manifest, yaml_file
from buildchain.solution import checkout, inputs
from buildchain.solution import project as projects
from buildchain.verify import medium

PATH = projects.FILE_NAME
_GIT = "git"
_TOLD_OTHERWISE = {("name",), ("version",)}


def load(root: pathlib.Path, found: findings.Findings) -> declared.Declared | None:
    """Check all of it; what it declares, if that could be read."""
    objects = yaml_file.load(PATH, functools.partial(_read, root), "project-yaml", found)
    if not objects or len(objects) > 1:
        if objects is not None:
            found.add("project-yaml", PATH, f"holds {len(objects)} documents")
        return None
    intent = objects[0]
    before = len(found.sorted())
    manifest.check_schema(intent, projects.SCHEMA, "project-schema", _is_told_otherwise, found)
    if len(found.sorted()) == before:
        _check_references(root, intent, found)
    return declared.of_project(intent)


def _is_told_otherwise(place: yaml_file.Place) -> bool:
    return place in _TOLD_OTHERWISE or (place[:1] in {("annotations",), ("labels",)} and len(place) == 2)


def _read(root: pathlib.Path, path: str) -> bytes:
    try:
        return (root / path).read_bytes()
    except OSError as error:
        raise medium.DamagedError(error.strerror or str(error)) from error


def _check_references(root: pathlib.Path, intent: yaml_file.Object, found: findings.Findings) -> None:
    problems = list(projects.problems_of(intent.value, root))
    for place, message in problems:
        found.add("project-reference", PATH, f"{'.'.join(map(str, place))}: {message}", intent.line(*place))
    for name, row in intent.mapping("images").items():
        if "archive" in row and "digest" not in row:
            found.add("archive-unpinned", PATH, f"{name} has no digest", intent.line("images", name))
    if not problems:
        _check_recipes(root, intent, found)


def _check_recipes(root: pathlib.Path, intent: yaml_file.Object, found: findings.Findings) -> None:
    """Load what a build would load; its errors name file and line."""
    try:
        wanted = projects.of_value(root, intent.value)
        requests = inputs.requests(wanted, inputs.chains(wanted))
        checkout.dockerfiles(wanted, _GIT)
    except errors.ConfigError as error:
        path = pathlib.Path(error.what)
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else error.what
        for where, message in error.problems:
            place = where.partition(", ")[2] if where.startswith("line ") else where
            text = f"{place}: {message}" if place else message
            found.add("project-recipe", name, solution.in_own_words(text), yaml_file.line_in(where))
        return
    if requests or wanted.pulled_images:
        _check_lock(wanted, requests, intent, found)


def _check_lock(
    wanted: projects.Project, requests: list[lock.Request], intent: yaml_file.Object, found: findings.Findings
) -> None:
    suites = {name: archive.suite for name, archive in wanted.archives.items()}
    locked = lock.Lock()
    try:
        locked = lock.load(wanted.root / projects.LOCK_NAME)
        lines = lock.differences(locked, requests, suites, wanted.pulled_images)
    except errors.BuildchainError as error:
        lines = [error.why]
    for line in lines:
        found.add("project-lock", projects.LOCK_NAME, line)
    held = {each.request for each in locked.images}
    for request, digest in wanted.pulled_images.items():
        if not digest and request not in held:
            message = f"{request.name} has neither a digest nor a lock: {request.source}:{request.tag} may be any image"
            found.add("pull-unpinned", PATH, message, intent.line("images", request.name))
