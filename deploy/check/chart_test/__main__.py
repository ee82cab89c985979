"""Runs all of it; says what ran, and ends with 1 and every fault if there is one."""

import sys
import traceback

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


def main():
    faults, documents = [], 0
    for name, arguments, check in CASES:
        try:
            rendering = Rendering(arguments)
        except AssertionError as error:
            faults.append(f"{name}: {error}")
            continue
        documents += len(rendering.documents)
        found = lint(arguments) + faults_of(rendering) + attempted(check, rendering)
        faults += [f"{name}: {fault}" for fault in found]
    for name, (arguments, parts) in refusals.REFUSALS.items():
        said = " ".join(refusal(arguments).split())
        faults += [f"refused, {name}: {part!r} is not in {said!r}" for part in parts if part not in said]
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
