"""Runs all checks of the chart. Prints a summary; prints the failures and exits with 1 if there are any."""

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


def check_case(case):
    """The number of documents of a case, and its failures."""
    name, arguments, check = case
    try:
        rendering = Rendering(arguments)
    except AssertionError as error:
        return 0, [f"{name}: {error}"]
    found = lint(arguments) + failures_of(rendering) + failures_or_error(check, rendering)
    return len(rendering.documents), [f"{name}: {failure}" for failure in found]


def check_rejection(item):
    name, (arguments, parts) = item
    message = " ".join(rejection(arguments).split())
    return [f"rejection, {name}: {part!r} is not in {message!r}" for part in parts if part not in message]


def main():
    # Most of the time is spent in helm, one process per rendering.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cases, rejected = list(pool.map(check_case, CASES)), list(pool.map(check_rejection, rejections.REJECTIONS.items()))
    documents = sum(count for count, _ in cases)
    failures = [failure for _, found in cases for failure in found] + [failure for found in rejected for failure in found]
    for name in manifests.PRESETS:
        rendered = manifests.Manifests(name)
        found = [*manifests.failures(rendered), *failures_of(rendered)]
        failures += [f"deploy/render {name}: {failure}" for failure in found]
    failures += [f"topics.sh: {failure}" for failure in failures_or_error(topics_test.check)]
    failures += [f"NOTES.txt: {failure}" for failure in failures_or_error(notes_test.check)]
    failures += [f"patches: {failure}" for failure in failures_or_error(patches.check)]
    failures += [f"upgrades: {failure}" for failure in failures_or_error(upgrades_test.check)]

    print(f"helm {helm('version', '--short').stdout.strip() or HELM}, Kubernetes {', '.join(schemas.KUBERNETES)}")
    print(f"{len(CASES)} cases with {documents} documents, {len(rejections.REJECTIONS)} rejections, {len(RULES)} rules, plain manifests, topics.sh, NOTES.txt, upgrades")
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
        sys.exit(f"{len(failures)} failures")


main()
