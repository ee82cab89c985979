"""The plain manifests that deploy/render prints for each preset. Its `--check` compares those of `default` with deploy/k8s."""

import subprocess

from rendering import CHART, ROOT, Rendering, documents_of

PRESETS = ["default", *sorted(path.stem.removeprefix("values-") for path in CHART.glob("presets/*.yaml"))]


class Manifests(Rendering):
    def __init__(self, preset):
        done = subprocess.run([ROOT / "deploy/render", preset], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.documents = documents_of(done.stdout)


def failures(manifests):
    """Contents that plain manifests must not have."""
    text = str(manifests.documents)
    for text_of_helm in ("helm.sh/", "'Helm'", "namespace':"):
        if text_of_helm in text:
            yield f"has {text_of_helm}: not plain"
    for secret in manifests.all("Secret"):
        if set(secret["stringData"].values()) != {"change-me"}:
            yield f"{secret['metadata']['name']} has a value other than the placeholder"
