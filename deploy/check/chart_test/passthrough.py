"""Values that are passed to Kubernetes unchanged, network policies, and checksums of settings and secrets."""

import hashlib
import json

from cases import LOGINS, SERVERS, case
from rendering import SECRETS, Rendering, sets


def set_json(**values):
    return [part for name, value in values.items() for part in ("--set-json", f"{name.replace('__', '.')}={json.dumps(value)}")]


POD = "spec.template.spec"
OWN = f"{POD}.containers.0"
# Each value of a deployment, what it is set to, and where in the Deployment it must be.
OF_DEPLOYMENTS = [
    ("annotations", {"c": "d"}, "metadata.annotations"),
    ("podAnnotations", {"a": "b"}, "spec.template.metadata.annotations"),
    ("podLabels", {"team": "checkout"}, "spec.template.metadata.labels"),
    ("priorityClassName", "high", f"{POD}.priorityClassName"),
    ("nodeSelector", {"disk": "fast"}, f"{POD}.nodeSelector"),
    ("tolerations", [{"key": "spot", "operator": "Exists"}], f"{POD}.tolerations"),
    ("affinity", {"nodeAffinity": {}}, f"{POD}.affinity"),
    (
        "topologySpreadConstraints",
        [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
        f"{POD}.topologySpreadConstraints",
    ),
    ("extraEnv", [{"name": "SHOP_LOG_LEVEL", "value": "debug"}], f"{OWN}.env"),
    ("resources", {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}, f"{OWN}.resources"),
    ("extraVolumes", [{"name": "x", "emptyDir": {}}], f"{POD}.volumes"),
    ("extraVolumeMounts", [{"name": "x", "mountPath": "/x"}], f"{OWN}.volumeMounts"),
]
BY_IP = [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]
CREDENTIALS = {"credentials": {"name": "s", "key": "k"}}
# Values of other objects: kind and component of the object, and where in it they must be.
OF_OTHERS = [
    ("facing.service.type", "LoadBalancer", "Service/facing", "spec.type"),
    ("facing.service.annotations", {"a": "b"}, "Service/facing", "metadata.annotations"),
    ("facing.pdb.maxUnavailable", "50%", "PodDisruptionBudget/facing", "spec.maxUnavailable"),
    ("networkPolicy.extraEgress", BY_IP, "NetworkPolicy/facing", "spec.egress"),
    ("ingress.annotations", {"c": "d"}, "Ingress", "metadata.annotations"),
    ("ingress.className", "nginx", "Ingress", "spec.ingressClassName"),
    ("serviceAccount.annotations", {"e": "f"}, "ServiceAccount", "metadata.annotations"),
    ("metrics.serviceMonitor.endpoint", {"scrapeTimeout": "5s", "authorization": CREDENTIALS}, "ServiceMonitor", "spec.endpoints.0"),
]
OF_INTERNAL_SERVERS = [
    (f"{server}.internal.storage.{value}", text, f"StatefulSet/{server}", f"spec.volumeClaimTemplates.0.spec.{place}")
    for server in ("kafka", "mongodb")
    for value, text, place in (("storageClass", f"of-{server}", "storageClassName"), ("size", "3Gi", "resources.requests.storage"))
]
OF_THE_VOLUME = [
    ("persistence.storageClass", "local", "PersistentVolumeClaim", "spec.storageClassName"),
    ("persistence.size", "5Gi", "PersistentVolumeClaim", "spec.resources.requests.storage"),
]


def arguments_of(table):
    return [part for value, given, *_ in table for part in ("--set-json", f"{value}={json.dumps(given)}")]


def assert_passed_through(rendering, table):
    for value, given, place, path in table:
        kind, _, component = place.partition("/")
        found = rendering.of(kind, component) if component else rendering.all(kind)[0]
        for member in path.split("."):
            found = found[int(member) if member.isdigit() else member]
        if isinstance(given, dict):
            passed = given.items() <= found.items()
        elif isinstance(given, list):
            passed = all(one in found for one in given)
        else:
            passed = found == given
        assert passed, f"{value} is not at {path} of {place}: {found}"


SERVICES = [(f"{service}.{value}", given, f"Deployment/{service}", path) for service in ("facing", "management") for value, given, path in OF_DEPLOYMENTS]


@case(SERVERS, arguments_of(SERVICES))
def values_of_deployments_are_passed_through(r):
    assert_passed_through(r, SERVICES)


@case(
    SERVERS, arguments_of(OF_OTHERS), sets(ingress__enabled="true", metrics__serviceMonitor__enabled="true"),
    set_json(extraObjects=[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra", "labels": {"app.kubernetes.io/component": "extra"}}}]),
)  # fmt: skip
def values_of_other_objects_are_passed_through(r):
    assert_passed_through(r, OF_OTHERS)
    assert "extra" in r.names("ConfigMap")
    ingress = r.all("Ingress")[0]["spec"]
    assert "tls" not in ingress and "host" not in ingress["rules"][0]


@case(arguments_of(OF_INTERNAL_SERVERS), sets(kafka__internal__enabled="true", mongodb__internal__enabled="true"))
def volumes_of_internal_servers(r):
    assert_passed_through(r, OF_INTERNAL_SERVERS)


@case(sets(mode="embedded"), arguments_of(OF_THE_VOLUME))
def volume_of_embedded_mode(r):
    assert_passed_through(r, OF_THE_VOLUME)


ASSIGNED = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}


@case(
    SERVERS, sets(topicJob__enabled="true", kafkaExporter__enabled="true"),
    set_json(podSecurityContext=ASSIGNED | {"supplementalGroups": [7]}, containerSecurityContext={"runAsNonRoot": True}),
    set_json(commonLabels={"team": "checkout"}),
)  # fmt: skip
def contexts_and_labels_of_all(r):
    for _, metadata, pod in r.workloads():
        assert not set(ASSIGNED) & set(pod["securityContext"]) and pod["securityContext"]["supplementalGroups"] == [7]
        assert pod["securityContext"]["runAsNonRoot"] is True and metadata["labels"]["team"] == "checkout"
        assert all(one["securityContext"]["runAsNonRoot"] for one in pod["containers"] + pod.get("initContainers", []))
    assert all(document["metadata"]["labels"]["team"] == "checkout" for document in r.documents)
    selected = [document["spec"]["selector"] for kind in ("Deployment", "Service") for document in r.all(kind)]
    assert "checkout" not in json.dumps(selected), "selectors of an installed release cannot change"


GATEWAY = [{"name": "public", "namespace": "gateways", "sectionName": "https"}]


@case(
    SERVERS, set_json(httpRoute__parentRefs=GATEWAY, httpRoute__hostnames=["shop.example"], httpRoute__annotations={"a": "b"}),
    set_json(ingress__extraPaths=[{"path": "/users", "type": "Prefix", "service": "management"}]),
    sets(httpRoute__enabled="true", management__service__port=81),
)  # fmt: skip
def a_route_of_the_gateway_api(r):
    assert not r.all("Ingress")
    (route,) = r.all("HTTPRoute")
    spec = route["spec"]
    assert (spec["parentRefs"], spec["hostnames"], route["metadata"]["annotations"]) == (GATEWAY, ["shop.example"], {"a": "b"})
    facing, management = spec["rules"]
    assert {"path": {"type": "Exact", "value": "/"}} in facing["matches"] and {"path": {"type": "PathPrefix", "value": "/buy"}} in facing["matches"]
    assert facing["backendRefs"] == [{"name": "rel-shop-facing", "port": 3000}]
    assert management["matches"] == [{"path": {"type": "PathPrefix", "value": "/users"}}]
    assert management["backendRefs"] == [{"name": "rel-shop-management", "port": 81}]
    assert "from" not in r.of("NetworkPolicy", "management")["spec"]["ingress"][0], "the Gateway may be anywhere"


@case(
    SERVERS, sets(ingress__enabled="true", ingress__host="a.example", ingress__tls__enabled="true", ingress__tls__secretName="s"),
    set_json(ingress__extraHosts=["b.example"]),
    set_json(metrics__prometheusRule={"enabled": True, "runbookUrl": "https://wiki.example/shop"}),
)  # fmt: skip
def hosts_and_runbooks(r):
    ingress = r.all("Ingress")[0]["spec"]
    assert ingress["tls"] == [{"secretName": "s", "hosts": ["a.example", "b.example"]}]
    assert [rule["host"] for rule in ingress["rules"]] == ["a.example", "b.example"]
    assert ingress["rules"][0]["http"] == ingress["rules"][1]["http"]
    rules = [rule for group in r.all("PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert rules and all(rule["annotations"]["runbook_url"].startswith("https://wiki.example/shop#") for rule in rules)


@case(LOGINS)
def secret_checksums_resist_guessing(r):
    checksums = {one: annotation(r, one)["checksum/secrets"] for one in ("facing", "management")}
    elsewhere = Rendering(LOGINS, release="other")
    other = Rendering(LOGINS + sets(kafka__sasl__password="another"))
    for component, checksum in checksums.items():
        for guess in (SECRETS["kafka.sasl.password"], "".join(SECRETS[name] for name in ("kafka.sasl.password", "mongodb.password"))):
            for salt in ("", "rel", "rel-shop", "ns", "rel-shopns", "nsrel-shop"):
                assert checksum != hashlib.sha256((salt + guess).encode()).hexdigest(), "anyone who can list pods could test passwords"
        assert checksum != annotation(elsewhere, component)["checksum/secrets"], "the checksum is not salted with the release"
        assert checksum != annotation(other, component)["checksum/secrets"], "pods are not replaced when the password changes"
        assert checksum == annotation(Rendering(LOGINS), component)["checksum/secrets"], "pods are replaced without a change"


BACKUP = {"podSelector": {"matchLabels": {"app": "backup"}}}


@case(SERVERS, set_json(networkPolicy__managementFrom=[BACKUP]))
def peers_of_management(r):
    policy = r.of("NetworkPolicy", "management")["spec"]
    peers = policy["ingress"][0]["from"]
    assert peers[0] == BACKUP and peers[1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    own = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers[2:]]
    assert own == ["facing", "test"], own
    ports = [port["port"] for port in policy["egress"][-1]["ports"]]
    assert ports == [9092, 9094, 27018], ports
    to = r.of("NetworkPolicy", "facing")["spec"]["egress"][1]["to"][0]["podSelector"]["matchLabels"]
    assert to["app.kubernetes.io/component"] == "management"


def annotation(rendering, component):
    return rendering.of("Deployment", component)["spec"]["template"]["metadata"]["annotations"]


@case(SERVERS)
def changed_settings_replace_pods(r):
    louder = Rendering(SERVERS + sets(settings__logLevel="debug"))
    moved = Rendering(["--set", r"kafka.bootstrapServers=kafka-0:9092\,kafka-1:9094,mongodb.uri=mongodb://other:27018/"])
    for component, replaced in (("facing", False), ("management", True)):
        assert annotation(r, component)["checksum/settings"] != annotation(louder, component)["checksum/settings"]
        assert (annotation(r, component) != annotation(moved, component)) == replaced, f"{component} and MongoDB's address"
    assert annotation(r, "facing") == annotation(Rendering(SERVERS), "facing"), "pods are replaced without a change"
