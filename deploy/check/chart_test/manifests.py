"""The plain manifests in deploy/k8s."""

from rendering import ROOT, Rendering, documents_of

FOLDERS = {".": "shop", "user-buy-list": "user-buy-list", "purchase-tracking": "purchase-tracking"}


class Manifests(Rendering):
    """All files of a folder and of its subfolder keda."""

    def __init__(self, folder):
        place = ROOT / "deploy/k8s" / folder
        files = sorted([*place.glob("*.yaml"), *place.glob("keda/*.yaml")])
        self.documents = [document for path in files for document in documents_of(path.read_text())]


def failures(folder):
    """Contents that plain manifests must not have, and missing ones."""
    manifests = Manifests(folder)
    text = str(manifests.documents)
    for text_of_helm in ("helm.sh/", "'Helm'", "namespace':"):
        if text_of_helm in text:
            yield f"has {text_of_helm}: not plain"
    for kind in ("ConfigMap", "Secret", "Deployment", "StatefulSet", "Job", "PodDisruptionBudget", "NetworkPolicy"):
        if not manifests.all(kind):
            yield f"{kind} is missing"
    if not manifests.all("HorizontalPodAutoscaler") + manifests.all("ScaledObject"):
        yield "autoscaler is missing"
    for secret in manifests.all("Secret"):
        if set(secret["stringData"].values()) != {"change-me"}:
            yield f"{secret['metadata']['name']} has a value other than the placeholder"
