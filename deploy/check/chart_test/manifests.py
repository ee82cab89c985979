"""The plain manifests, as they lie there."""

from rendering import ROOT, Rendering, documents_of

FOLDERS = {".": "shop", "user-buy-list": "user-buy-list", "purchase-tracking": "purchase-tracking"}


class Manifests(Rendering):
    """All files of a folder, and of the folder for KEDA in it."""

    def __init__(self, folder):
        place = ROOT / "deploy/k8s" / folder
        files = sorted([*place.glob("*.yaml"), *place.glob("keda/*.yaml")])
        self.documents = [document for path in files for document in documents_of(path.read_text())]


def faults(folder):
    """What these are not that they are said to be."""
    manifests = Manifests(folder)
    text = str(manifests.documents)
    for said in ("helm.sh/", "'Helm'", "namespace':"):
        if said in text:
            yield f"it has {said}, so it is not plain"
    for kind in ("ConfigMap", "Secret", "Deployment", "StatefulSet", "Job", "PodDisruptionBudget", "NetworkPolicy"):
        if not manifests.all(kind):
            yield f"there is no {kind}"
    if not manifests.all("HorizontalPodAutoscaler") + manifests.all("ScaledObject"):
        yield "there is no autoscaler"
    for secret in manifests.all("Secret"):
        if set(secret["stringData"].values()) != {"change-me"}:
            yield f"{secret['metadata']['name']} holds more than a placeholder"
