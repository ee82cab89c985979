"""What an upgrade finds of a release: the chart looks it up in the cluster, for which a stand-in answers here."""

import http.server
import json
import os
import threading

from rendering import CHART, KUBERNETES, SERVERS, helm, sets


def stand_in(found):
    """The least of an API server: ConfigMaps of the namespace `ns`, by their names."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            if path == "/api/v1":
                kinds = [{"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]} for kind in ("ConfigMap", "Secret")]
                answer = {"kind": "APIResourceList", "groupVersion": "v1", "resources": kinds}
            name = path.removeprefix("/api/v1/namespaces/ns/configmaps/")
            if name in found:
                answer = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}, "data": found[name]}
            body = json.dumps(answer).encode()
            self.send_response(answer.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)


def refusal_of_an_upgrade(found, arguments):
    """Why helm refuses to render for a namespace with these ConfigMaps; nothing if it does render."""
    with stand_in(found) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = {"KUBECONFIG": os.devnull, "HELM_KUBEAPISERVER": f"http://127.0.0.1:{server.server_port}"}
        done = helm("template", "rel", str(CHART), "-n", "ns", *KUBERNETES, "--dry-run=server", *arguments, **address)
        server.shutdown()
    return " ".join(done.stderr.split()) if done.returncode else ""


def check():
    before = {
        "rel-shop-facing-config": {"KAFKA_TOPIC": "purchases", "KAFKA_GROUP_ID": "purchase-group"},
        "rel-shop-management-config": {"KAFKA_TOPIC": "purchases", "KAFKA_GROUP_ID": "purchase-group", "SHOP_USERS_TOPIC": "user_created"},
    }
    said = refusal_of_an_upgrade(before, SERVERS)
    for part in ("set kafka.topic=purchases", "set kafka.groupId=purchase-group", "set users.topic=user_created"):
        assert said.count(part) == 1, f"{part} is not once in {said!r}"
    named = sets(kafka__topic="purchases", kafka__groupId="purchase-group", users__topic="user_created")
    said = refusal_of_an_upgrade(before, SERVERS + named)
    assert not said, said
    same = {"rel-shop-management-config": {"KAFKA_TOPIC": "ns.rel-shop.purchases", "KAFKA_GROUP_ID": "ns.rel-shop.purchase-group"}}
    assert not refusal_of_an_upgrade(same, SERVERS) and not refusal_of_an_upgrade({}, SERVERS)
