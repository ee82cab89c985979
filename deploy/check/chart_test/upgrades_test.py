"""Upgrades of existing releases, which the chart looks up in the cluster. A fake API server responds here."""

import http.server
import json
import os
import threading

from rendering import CHART, KUBERNETES, OPEN, SERVERS, helm, sets


def fake_api_server(config_maps):
    """A minimal API server with ConfigMaps of the namespace `ns`, by name."""

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
            name = path.removeprefix("/api/v1/namespaces/ns/configmaps/")
            if name in config_maps:
                response = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}, "data": config_maps[name]}
            body = json.dumps(response).encode()
            self.send_response(response.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def upgrade_rejection(config_maps, arguments):
    """The error of `helm template` for a namespace with these ConfigMaps; empty if it succeeds."""
    with fake_api_server(config_maps) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = {"KUBECONFIG": os.devnull, "HELM_KUBEAPISERVER": f"http://127.0.0.1:{server.server_port}"}
        done = helm("template", "rel", str(CHART), "-n", "ns", *KUBERNETES, *OPEN, "--dry-run=server", *arguments, **address)
        server.shutdown()
    return " ".join(done.stderr.split()) if done.returncode else ""


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
