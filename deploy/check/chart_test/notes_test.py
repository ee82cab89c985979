"""What is told after an install. Only an install shows it, which needs a cluster: here a template of a copy quotes it."""

import pathlib
import shutil
import tempfile

import yaml

from rendering import CHART, KUBERNETES, SERVERS, helm, preset, sets

QUOTES = """note: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n"""


def notes(arguments):
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(CHART, pathlib.Path(folder, "shop"))
        (copy / "templates/quotes.yaml").write_text(QUOTES)
        done = helm("template", "rel", str(copy), "-n", "ns", *KUBERNETES, *arguments, "--show-only", "templates/quotes.yaml")
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)["note"]


def check():
    usual = notes(SERVERS)
    assert "--namespace ns port-forward service/rel-shop-facing 3000:3000" in usual and "helm test rel --namespace ns" in usual
    assert "Topic ns.rel-shop.purchases, group ns.rel-shop.purchase-group, at kafka-0:9092,kafka-1:9094." in usual
    assert "KEDA scales it" in usual and "delete pvc" not in usual
    assert "delete pvc,secret" in notes(sets(kafka__internal__enabled="true", mongodb__internal__enabled="true"))
    assert "/v1/purchases" in usual and "/users" in usual and "of their own" not in usual
    ecommerce = notes(SERVERS + preset("ecommerce"))
    assert "port-forward service/ecommerce-user-service 8001:8001" in ecommerce and "purchases" not in ecommerce
    assert "Orders have a deployment of their own, ecommerce-order-service, port 8002." in ecommerce
    embedded = notes(sets(mode="embedded"))
    assert "which stays when" in embedded and "Topic" not in embedded
    assert "which stays when" not in notes(sets(mode="embedded", persistence__keep="false"))
    assert "http://<address of a node>:30080/" in notes(preset("purchase-tracking"))
    tls = sets(ingress__enabled="true", ingress__host="shop.example", ingress__tls__enabled="true", ingress__tls__secretName="s")
    published = notes(SERVERS + tls)
    assert "https://shop.example/" in published and "ingress.extraPaths" in published
    assert "curl" not in published, "nothing listens on localhost, and /users is not published"
