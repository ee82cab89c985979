"""The notes after an install. Rendering them requires a cluster, so a template in a copy of the chart includes them."""

import pathlib
import shutil
import tempfile

import yaml

from rendering import CHART, ENTITIES, KUBERNETES, OPEN, SERVERS, helm, preset, sets

QUOTES = """note: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n"""


def notes(arguments):
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(CHART, pathlib.Path(folder, "shop"))
        (copy / "templates/quotes.yaml").write_text(QUOTES)
        done = helm("template", "rel", str(copy), "-n", "ns", *KUBERNETES, *OPEN, *arguments, "--show-only", "templates/quotes.yaml")
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)["note"]


def check():
    default = notes(SERVERS)
    assert "--namespace ns port-forward service/rel-shop-facing 3000:3000" in default and "helm test rel --namespace ns" in default
    assert "Topic ns.rel-shop.purchases, group ns.rel-shop.purchase-group, at kafka-0:9092,kafka-1:9094." in default
    assert "scale by consumer lag with KEDA" in default and "delete pvc" not in default
    assert "delete pvc,secret" in notes(sets(kafka__internal__enabled="true", mongodb__internal__enabled="true"))
    assert "/v1/purchases" in default and "/users" not in default and "/users" in notes(SERVERS + ENTITIES)
    ecommerce = notes(preset("ecommerce") + ["--set", "kafka.bootstrapServers=k:9092,postgres.existingSecret=s"])
    assert "port-forward service/ecommerce-user-service 8001:8001" in ecommerce and "purchases" not in ecommerce
    assert "Orders have a separate deployment, ecommerce-order-service, port 8002." in ecommerce
    embedded = notes(sets(mode="embedded"))
    assert "which is kept when" in embedded and "Topic" not in embedded
    assert "which is kept when" not in notes(sets(mode="embedded", persistence__keep="false"))
    assert "http://<address of a node>:30080/" in notes(preset("purchase-tracking"))
    tls = sets(ingress__enabled="true", ingress__host="shop.example", ingress__tls__enabled="true", ingress__tls__secretName="s")
    published = notes(SERVERS + tls)
    assert "https://shop.example/" in published and "ingress.extraPaths" in published
    assert "curl" not in published, "the notes have no port-forward with an ingress, and /users is not published"
