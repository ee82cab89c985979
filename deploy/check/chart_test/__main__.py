"""Runs all checks of the chart. Prints a summary; prints the failures and exits with 1 if there are any."""

import itertools
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import certificates  # noqa: F401  registers cases
import entities  # noqa: F401  registers cases
import manifests
import notes_test
import passthrough  # noqa: F401  registers cases
import patches
import presets  # noqa: F401  registers cases
import rejections
import scheduled  # noqa: F401  registers cases
import schemas
import topics_test
import upgrades_test
from cases import CASES
from rendering import HELM, Rendering, helm, lint, rejection
from rules import RULES


def failures_of(rendering):
    found = [failure for document in rendering.documents for failure in schemas.failures(document)]
    for rule in RULES:
        found += failures_or_error(lambda rule=rule: [f"{rule.__name__}: {failure}" for failure in rule(rendering)])
    return found


def failures_or_error(check, *arguments):
    """The failures that a check returns, or the line where it raised: an expected document may be missing."""
    try:
        return check(*arguments) or []
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return [f"{at.name}, line {at.lineno}: {error!r} in {at.line}"]


def is_linted(name, arguments):
    """Whether `helm lint` checks a case. What it finds beyond `helm template` depends on the chart, hardly on values."""
    return name == "default_values" or any("/presets/" in argument for argument in arguments)


def check_case(case):
    """The number of documents of a case, and its failures."""
    name, arguments, check = case
    try:
        rendering = Rendering(arguments)
    except AssertionError as error:
        return 0, [f"{name}: {error}"]
    found = lint(arguments) if is_linted(name, arguments) else []
    found += failures_of(rendering) + failures_or_error(check, rendering)
    return len(rendering.documents), [f"{name}: {failure}" for failure in found]


def check_rejection(item):
    name, arguments, parts = item
    message = " ".join(rejection(arguments).split())
    return [f"rejection, {name}: {part!r} is not in {message!r}" for part in parts if part not in message]


def check_manifests(preset):
    manifest = manifests.Manifests(preset)
    found = [*manifests.failures(manifest), *failures_of(manifest)]
    return [f"deploy/render {preset}: {failure}" for failure in found]


def check_module(module):
    return [f"{module.__name__}: {failure}" for failure in failures_or_error(module.check)]


def main():
    # Most of the time is spent in helm, one process per rendering.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cases = pool.map(check_case, CASES)
        others = [
            pool.map(check_rejection, rejections.REJECTIONS),
            pool.map(check_manifests, manifests.PRESETS),
            pool.map(check_module, [topics_test, notes_test, patches, upgrades_test]),
        ]
    counts, failures = zip(*cases)
    failures = [failure for found in [*failures, *itertools.chain(*others)] for failure in found]

    print(f"helm {helm('version', '--short').stdout.strip() or HELM}, Kubernetes {', '.join(schemas.KUBERNETES)}")
    print(f"{len(CASES)} cases with {sum(counts)} documents, {len(rejections.REJECTIONS)} rejections, {len(RULES)} rules")
    print(f"plain manifests of {len(manifests.PRESETS)} presets, topics.sh, NOTES.txt, patches, upgrades")
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
        sys.exit(f"{len(failures)} failures")


main()
