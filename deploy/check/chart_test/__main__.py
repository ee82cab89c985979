"""Runs all of it; says what ran, and ends with 1 and every fault if there is one."""

import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import accounts  # noqa: F401  its cases
import manifests
import notes_test
import passed_on  # noqa: F401  its cases
import presets  # noqa: F401  its cases
import refusals
import schemas
import topics_test
import upgrades_test
from cases import CASES
from rendering import HELM, Rendering, helm, lint, refusal
from rules import RULES


def faults_of(rendering):
    found = [fault for document in rendering.documents for fault in schemas.faults(document)]
    for rule in RULES:
        found += attempted(lambda rule=rule: [f"{rule.__name__}: {fault}" for fault in rule(rendering)])
    return found


def attempted(check, *arguments):
    """The faults that a check answers, or the line that it failed at: what is looked for may not be there at all."""
    try:
        return check(*arguments) or []
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return [f"{at.name}, line {at.lineno}: {error!r} in {at.line}"]


def of_case(case):
    """How many documents a case has, and its faults."""
    name, arguments, check = case
    try:
        rendering = Rendering(arguments)
    except AssertionError as error:
        return 0, [f"{name}: {error}"]
    found = lint(arguments) + faults_of(rendering) + attempted(check, rendering)
    return len(rendering.documents), [f"{name}: {fault}" for fault in found]


def of_refusal(item):
    name, (arguments, parts) = item
    said = " ".join(refusal(arguments).split())
    return [f"refused, {name}: {part!r} is not in {said!r}" for part in parts if part not in said]


def main():
    # Most of the time is that of helm, one process for each rendering.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cases, refused = list(pool.map(of_case, CASES)), list(pool.map(of_refusal, refusals.REFUSALS.items()))
    documents = sum(count for count, _ in cases)
    faults = [fault for _, found in cases for fault in found] + [fault for found in refused for fault in found]
    for folder in manifests.FOLDERS:
        found = [*manifests.faults(folder), *faults_of(manifests.Manifests(folder))]
        faults += [f"deploy/k8s/{folder}: {fault}" for fault in found]
    faults += [f"topics.sh: {fault}" for fault in attempted(topics_test.check)]
    faults += [f"NOTES.txt: {fault}" for fault in attempted(notes_test.check)]
    faults += [f"upgrades: {fault}" for fault in attempted(upgrades_test.check)]

    print(f"helm {helm('version', '--short').stdout.strip() or HELM}, Kubernetes {', '.join(schemas.KUBERNETES)}")
    print(f"{len(CASES)} cases with {documents} documents, {len(refusals.REFUSALS)} refusals, {len(RULES)} rules, plain manifests, topics.sh, NOTES.txt, upgrades")
    if faults:
        print(*faults, sep="\n", file=sys.stderr)
        sys.exit(f"{len(faults)} faults")


main()
