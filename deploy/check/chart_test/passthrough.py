"""Values that are passed to Kubernetes unchanged, network policies, and checksums of settings and secrets."""

import hashlib
import json

from cases import LOGINS, SERVERS, case
from rendering import SECRETS, Rendering, sets


def set_json(**values):
    return [part for name, value in values.items() for part in ("--set-json", f"{name.replace('__', '.')}={json.dumps(value)}")]


GIVEN = {
    "podAnnotations": {"a": "b"}, "nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}}, "extraEnv": [{"name": "SHOP_LOG_LEVEL", "value": "debug"}],
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
    "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "3Gi"}},
    "annotations": {"c": "d"}, "podLabels": {"team": "checkout"}, "priorityClassName": "high",
    "extraVolumes": [{"name": "x", "emptyDir": {}}], "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
    "extraInitContainers": [{
        "name": "first", "image": "first:1", "resources": {"requests": {"cpu": "1m"}, "limits": {"memory": "1Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }],
    "extraContainers": [{
        "name": "proxy", "image": "proxy:1", "resources": {"requests": {"cpu": "1m"}, "limits": {"memory": "1Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }],
    "extraPodSpec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kafka"]}], "runtimeClassName": "gvisor"},
}  # fmt: skip


@case(SERVERS, *[set_json(**{f"{service}__{name}": value}) for service in ("facing", "management") for name, value in GIVEN.items()])
def pod_values_are_passed_through(r):
    for component in ("facing", "management"):
        template = r.of("Deployment", component)["spec"]["template"]
        container, sidecar = template["spec"]["containers"]
        assert sidecar == GIVEN["extraContainers"][0] and GIVEN["extraPodSpec"].items() <= template["spec"].items()
        assert GIVEN["podAnnotations"].items() <= template["metadata"]["annotations"].items()
        assert r.of("Deployment", component)["metadata"]["annotations"] == GIVEN["annotations"]
        assert GIVEN["podLabels"].items() <= template["metadata"]["labels"].items()
        assert GIVEN["extraVolumes"][0] in template["spec"]["volumes"] and GIVEN["extraVolumeMounts"][0] in container["volumeMounts"]
        assert template["spec"]["initContainers"] == GIVEN["extraInitContainers"]
        for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
            assert template["spec"][name] == GIVEN[name], name
        assert container["env"] == GIVEN["extraEnv"] and container["resources"]["limits"] == {"memory": "3Gi"}


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


@case(
    SERVERS,
    set_json(facing__probes={"liveness": {"periodSeconds": 30}, "readiness": {"failureThreshold": None}}),
    set_json(facing__strategy={"rollingUpdate": {"maxSurge": "50%"}}),
)
def probes_and_strategy(r):
    deployment, other = (r.of("Deployment", one)["spec"] for one in ("facing", "management"))
    changed, default = (one["template"]["spec"]["containers"][0] for one in (deployment, other))
    assert changed["startupProbe"] == default["startupProbe"]
    assert changed["livenessProbe"] == default["livenessProbe"] | {"periodSeconds": 30}
    assert changed["readinessProbe"] == {name: value for name, value in default["readinessProbe"].items() if name != "failureThreshold"}
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "50%"}}
    assert other["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budgets = Rendering(SERVERS + sets(facing__pdb__unhealthyPodEvictionPolicy="IfHealthyBudget"))
    policies = [budgets.of("PodDisruptionBudget", one)["spec"]["unhealthyPodEvictionPolicy"] for one in ("facing", "management")]
    assert policies == ["IfHealthyBudget", "AlwaysAllow"]


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
    set_json(metrics__serviceMonitor={"enabled": True, "endpoint": {"scrapeTimeout": "5s", "authorization": {"credentials": {"name": "s", "key": "k"}}}}),
    set_json(metrics__prometheusRule={"enabled": True, "runbookUrl": "https://wiki.example/shop"}),
)  # fmt: skip
def hosts_and_monitoring(r):
    ingress = r.all("Ingress")[0]["spec"]
    assert ingress["tls"] == [{"secretName": "s", "hosts": ["a.example", "b.example"]}]
    assert [rule["host"] for rule in ingress["rules"]] == ["a.example", "b.example"]
    assert ingress["rules"][0]["http"] == ingress["rules"][1]["http"]
    endpoint = r.all("ServiceMonitor")[0]["spec"]["endpoints"][0]
    assert endpoint["scrapeTimeout"] == "5s" and endpoint["authorization"]["credentials"]["key"] == "k"
    rules = [rule for group in r.all("PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert rules and all(rule["annotations"]["runbook_url"].startswith("https://wiki.example/shop#") for rule in rules)


@case(
    SERVERS,
    set_json(facing__service__annotations={"a": "b"}, ingress__annotations={"c": "d"}, serviceAccount__annotations={"e": "f"}),
    set_json(facing__service__loadBalancerSourceRanges=["10.0.0.0/8"], networkPolicy__extraEgress=[{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]),
    set_json(extraObjects=[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra", "labels": {"app.kubernetes.io/component": "extra"}}}]),
    sets(facing__service__type="LoadBalancer", ingress__enabled="true", ingress__className="nginx", facing__pdb__maxUnavailable="50%"),
)
def other_values_are_passed_through(r):
    service = r.of("Service", "facing")
    assert service["metadata"]["annotations"] == {"a": "b"} and service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert r.of("NetworkPolicy", "facing")["spec"]["egress"][0]["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    assert "extra" in r.names("ConfigMap")
    ingress = r.all("Ingress")[0]
    assert ingress["metadata"]["annotations"] == {"c": "d"} and ingress["spec"]["ingressClassName"] == "nginx"
    assert "tls" not in ingress["spec"] and "host" not in ingress["spec"]["rules"][0]
    assert r.all("ServiceAccount")[0]["metadata"]["annotations"] == {"e": "f"}
    assert r.of("PodDisruptionBudget", "facing")["spec"]["maxUnavailable"] == "50%"


@case(
    sets(kafka__internal__enabled="true", kafka__internal__storage__storageClass="slow", kafka__internal__storage__size="3Gi"),
    sets(mongodb__internal__enabled="true", mongodb__internal__storage__storageClass="fast", mongodb__internal__storage__size="4Gi"),
)
def volumes_of_internal_servers(r):
    for component, expected in (("kafka", ("slow", "3Gi")), ("mongodb", ("fast", "4Gi"))):
        claim = r.of("StatefulSet", component)["spec"]["volumeClaimTemplates"][0]["spec"]
        assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == expected


@case(sets(mode="embedded", persistence__storageClass="local", persistence__size="5Gi"))
def volume_of_embedded_mode(r):
    claim = r.all("PersistentVolumeClaim")[0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("local", "5Gi")


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


@case(SERVERS, set_json(networkPolicy__managementFrom=[BACKUP], networkPolicy__extraEgressPorts=[30111, 9092]))
def peers_of_management(r):
    policy = r.of("NetworkPolicy", "management")["spec"]
    peers = policy["ingress"][0]["from"]
    assert peers[0] == BACKUP and peers[1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    own = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers[2:]]
    assert own == ["facing", "test"], own
    ports = [port["port"] for port in policy["egress"][-1]["ports"]]
    assert ports == [9092, 9094, 27018, 30111], ports
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
