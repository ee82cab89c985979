"""Upgrades of existing releases, which the chart looks up in the cluster. A fake API server responds here."""

import base64
import http.server
import json
import os
import threading

from rendering import CHART, KUBERNETES, OPEN, SERVERS, documents_of, helm, sets


def fake_api_server(config_maps, secrets):
    """A minimal API server with ConfigMaps and Secrets of the namespace `ns`, by name."""
    objects = {f"configmaps/{name}": {"apiVersion": "v1", "kind": "ConfigMap"} | one for name, one in config_maps.items()}
    for name, data in secrets.items():
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        objects[f"secrets/{name}"] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "ns"}, "data": encoded}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            response = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            if path == "/api/v1":
                kinds = [{"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in ("ConfigMap", "Secret")]
                response = {"kind": "APIResourceList", "groupVersion": "v1", "resources": kinds}
            elif path == "/apis/apps/v1":
                kinds = [{"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get"]}]
                response = {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": kinds}
            response = objects.get(path.removeprefix("/api/v1/namespaces/ns/"), response)
            body = json.dumps(response).encode()
            self.send_response(response.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def upgrade(config_maps, secrets, arguments):
    """`helm template` for a namespace with these ConfigMaps and Secrets."""
    with fake_api_server(config_maps, secrets) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = {"KUBECONFIG": os.devnull, "HELM_KUBEAPISERVER": f"http://127.0.0.1:{server.server_port}"}
        done = helm("template", "rel", str(CHART), "-n", "ns", *KUBERNETES, *OPEN, "--dry-run=server", *arguments, **address)
        server.shutdown()
    return done


def upgrade_rejection(config_maps, arguments, secrets={}):
    """The error of `helm template` for a namespace with the data of these ConfigMaps; empty if it succeeds."""
    config_maps = {name: {"metadata": {"name": name, "namespace": "ns"}, "data": data} for name, data in config_maps.items()}
    done = upgrade(config_maps, secrets, arguments)
    return " ".join(done.stderr.split()) if done.returncode else ""


def check_secrets():
    """Changed Secrets replace the pods, and a URL of another database is another store."""
    arguments = ["--set", "kafka.bootstrapServers=k:9092,kafka.sasl.mechanism=PLAIN,kafka.sasl.existingSecret=login,kafka.sasl.usernameKey=user"]
    arguments += sets(postgres__existingSecret="db", postgres__urlKey="uri")
    login = {"user": "shop", "password": "p"}

    def rendered(url, login=login, had={}, more=()):
        done = upgrade(had, {"login": login, "db": {"uri": url}}, [*arguments, *more])
        assert done.returncode == 0, done.stderr
        return documents_of(done.stdout)

    def checksum(documents, service):
        template = next(one for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == f"rel-shop-{service}")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/secrets"]

    first = rendered("postgresql://u:p@db-0/shop")
    rotated = rendered("postgresql://u:q%40@db-0/shop?sslmode=require")
    other_user = rendered("postgresql://u:p@db-0/shop", login | {"user": "other"})
    assert checksum(first, "management") != checksum(rotated, "management"), "pods keep the old password"
    assert checksum(first, "facing") == checksum(rotated, "facing") != checksum(other_user, "facing"), "the user of Kafka"
    had = {one["metadata"]["name"]: one for one in first if one["kind"] == "ConfigMap"}
    assert all("q%40" not in str(one) and "db-0" not in str(one) for one in first + rotated), "a part of the URL is outside of the Secret"
    rendered("postgresql://u:q%40@db-0/shop?sslmode=require", had=had)
    for url in ("postgresql://u:p@db-1/shop", "postgresql://u:p@db-0/other"):
        done = upgrade(had, {"db": {"uri": url}, "login": login}, arguments)
        message = " ".join(done.stderr.split())
        assert "postgres: management has its data in another database than the one in the Secret db" in message, message
        assert "facing has its data" not in message and "set allowStoreChange=true" in message, message
        rendered(url, had=had, more=sets(allowStoreChange="true"))


def check():
    before = {
        "rel-shop-facing-config": {"KAFKA_TOPIC": "purchases", "KAFKA_GROUP_ID": "purchase-group"},
        "rel-shop-management-config": {"KAFKA_TOPIC": "purchases", "KAFKA_GROUP_ID": "purchase-group", "SHOP_USERS_TOPIC": "user_created"},
    }
    message = upgrade_rejection(before, SERVERS)
    for part in ("set kafka.topic=purchases", "set kafka.groupId=purchase-group", "set users.topic=user_created"):
        assert message.count(part) == 1, f"{part} is not exactly once in {message!r}"
    named = sets(kafka__topic="purchases", kafka__groupId="purchase-group", users__topic="user_created")
    message = upgrade_rejection(before, SERVERS + named)
    assert not message, message
    for had, arguments, expected in (
        ({"rel-shop-facing-config": {"SHOP_DATA_DIR": "/data"}}, SERVERS, "this release has its purchases in the mode embedded; set mode=embedded"),
        ({"rel-shop-facing-config": {"SHOP_ROLES": "purchases"}}, sets(mode="embedded"), "set mode=cluster"),
        (
            {"rel-shop-management-config": {"SHOP_ROLES": "purchases", "MONGODB_DATABASE": "old", "MONGODB_COLLECTION": "purchases"}},
            SERVERS,
            "mongodb.database: this release has its purchases in old, not in purchases",
        ),
    ):
        message = upgrade_rejection(had, arguments)
        assert expected in message and "set allowStoreChange=true" in message, message
        message = upgrade_rejection(had, arguments + sets(allowStoreChange="true"))
        assert not message, message
    same = {"rel-shop-management-config": {"KAFKA_TOPIC": "ns.rel-shop.purchases", "KAFKA_GROUP_ID": "ns.rel-shop.purchase-group"}}
    assert not upgrade_rejection(same, SERVERS) and not upgrade_rejection({}, SERVERS)
    check_secrets()
