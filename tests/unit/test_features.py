"""The features and their steps belong together: nothing is undefined, ambiguous, unused, or never tried."""

import importlib
import pathlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from pytest_bdd import feature, parser, steps

import tests.conftest
from tests import features

ROOT = pathlib.Path(__file__).parents[2]
BOUND = {"container": "tests/end_to_end/test_node.py", "vm": "tests/vm/test_vm.py"}
FEATURES = feature.get_features([str(features.FOLDER)])


def _scenarios() -> Iterator[parser.Scenario]:
    """All that are tried, each example a scenario."""
    for each in FEATURES:
        for template in each.scenarios.values():
            contexts = [context for examples in template.examples for context in examples.as_contexts()]
            for context in contexts or [{}]:
                yield template.render(context)


def _definitions() -> list[steps.StepFunctionContext]:
    for module in features.STEPS:
        importlib.import_module(module)
    known = steps.step_function_context_registry.values()
    return [each for each in known if each.step_func.__module__ in features.STEPS]


def test_every_step_has_one_definition() -> None:
    definitions = _definitions()
    found = {
        f"{one.feature.name}: {step}": len([each for each in definitions if _is_for(each, step)])
        for one in _scenarios()
        for step in one.steps
    }
    assert found
    assert {step: number for step, number in found.items() if number != 1} == {}


def test_every_definition_is_used() -> None:
    used = [step for one in _scenarios() for step in one.steps]
    unused = [each.parser.name for each in _definitions() if not any(_is_for(each, step) for step in used)]
    assert unused == []


def _is_for(definition: steps.StepFunctionContext, step: parser.Step) -> bool:
    return definition.type == step.type and definition.parser.is_matching(step.name)


def test_every_scenario_says_where_it_is_tried() -> None:
    assert set(BOUND) == set(tests.conftest.HOSTS.values())
    untried = [one.name for one in _scenarios() if not (one.tags | one.feature.tags) & set(BOUND)]
    assert untried == []


@pytest.fixture(scope="module")
def collected() -> Counter[tuple[str, str]]:
    """How often pytest would run a test, by the file and the name."""
    unneeded = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest")]
    argv = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *unneeded, *BOUND.values()]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(\S+)::(\w+)", done.stdout, re.MULTILINE)
    return Counter((file, name) for file, name in found)


@pytest.mark.parametrize("tag", BOUND)
def test_every_scenario_is_collected_where_it_is_tried(tag: str, collected: Counter[tuple[str, str]]) -> None:
    wanted = Counter(_test(one) for one in _scenarios() if tag in one.tags | one.feature.tags)
    assert wanted
    assert {name: number for name, number in wanted.items() if collected[BOUND[tag], name] != number} == {}


def _test(one: parser.Scenario) -> str:
    """What pytest-bdd calls it."""
    return "test_" + re.sub(r"\W", "", one.name.replace(" ", "_")).lower()


def test_every_scenario_follows_given_when_then() -> None:
    """What is done comes before what holds then."""
    order = ["given", "when", "then"]
    for one in _scenarios():
        numbers = [order.index(step.type) for step in one.steps]
        assert numbers == sorted(numbers), one.name
        assert numbers[-1] == 2, one.name
