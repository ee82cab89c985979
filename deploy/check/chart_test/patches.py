"""Patches of any field of any object, additional objects, and security contexts that are merged into those of the chart."""

import re

import schemas
import yaml
from cases import SERVERS, case, container
from passthrough import set_json
from rendering import CHART, Rendering, sets

ALL = sets(
    ingress__enabled="true", facing__autoscaling__type="hpa", management__autoscaling__type="keda", metrics__prometheusRule__enabled="true",
    metrics__serviceMonitor__enabled="true", httpRoute__enabled="true", facing__service__type="LoadBalancer",
) + set_json(httpRoute__parentRefs=[{"name": "public"}])  # fmt: skip
GROUP = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"][0]
ALERTS = [rule["alert"] for rule in GROUP["rules"] if "alert" in rule]
PATCHES = {
    "*": {"metadata": {"annotations": {"team": "checkout"}}},
    "Deployment": {"spec": {"revisionHistoryLimit": 3, "minReadySeconds": 5}},
    "Deployment/facing": {"spec": {"template": {"spec": {
        "terminationGracePeriodSeconds": 90, "securityContext": {"fsGroupChangePolicy": None},
        "containers": [{
            "name": "facing", "args": ["--log-format", "text"], "lifecycle": None, "envFrom+": [{"secretRef": {"name": "more"}}],
            "securityContext": {"runAsUser": 10002}, "ports": [{"name": "debug", "containerPort": 9999}],
        }],
    }}}},
    "Service/facing": {
        "metadata": {"labels": {"zone": "public"}},
        "spec": {"externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/internal"},
    },
    "PodDisruptionBudget/facing": {"spec": {"maxUnavailable": None, "minAvailable": 1}},
    "Ingress": {"metadata": {"labels": {"a": "b"}}, "spec": {"tls": [{"secretName": "one", "hosts": ["a.example"]}, {"secretName": "two", "hosts": ["b.example"]}]}},
    "HTTPRoute": {"metadata": {"labels": {"a": "b"}}, "spec": {"parentRefs": [{"name": "public", "sectionName": "https"}, {"name": "internal"}]}},
    "ServiceAccount": {"metadata": {"labels": {"a": "b"}}},
    "ServiceMonitor": {"metadata": {"namespace": "ns"}, "spec": {"sampleLimit": 10000}},
    "ScaledObject/management": {"spec": {"triggers+": [{"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "end": "0 20 * * *", "desiredReplicas": "4"}}]}},
    "PrometheusRule": {"spec": {"groups": [{"name": GROUP["name"], "rules": [{"alert": ALERTS[0], "$patch": "delete"}, {"alert": ALERTS[1], "for": "9m"}]}]}},
}  # fmt: skip


def rules_of(rendering):
    return [rule for group in rendering.all("PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]]


@case(SERVERS, ALL, set_json(patches=PATCHES))
def patches_set_any_field(r):
    plain = Rendering(SERVERS + ALL)
    assert [(one["kind"], one["metadata"]["name"]) for one in r.documents] == [(one["kind"], one["metadata"]["name"]) for one in plain.documents]
    assert all(one["metadata"]["annotations"]["team"] == "checkout" for one in r.documents)
    facing, management = (r.of("Deployment", one)["spec"] for one in ("facing", "management"))
    assert facing["revisionHistoryLimit"] == management["revisionHistoryLimit"] == 3 and management["minReadySeconds"] == 5
    pod, before = facing["template"]["spec"], plain.of("Deployment", "facing")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 90 and "fsGroupChangePolicy" not in pod["securityContext"] and pod["securityContext"]["runAsUser"] == 10001
    own, was = pod["containers"][0], before["containers"][0]
    assert len(pod["containers"]) == 1 and own["image"] == was["image"] and own["readinessProbe"] == was["readinessProbe"]
    assert own["args"] == ["--log-format", "text"] and "lifecycle" not in own and own["envFrom"] == was["envFrom"] + [{"secretRef": {"name": "more"}}]
    assert own["securityContext"] == was["securityContext"] | {"runAsUser": 10002}
    assert own["ports"] == was["ports"] + [{"name": "debug", "containerPort": 9999}]
    service = r.of("Service", "facing")
    assert service["metadata"]["labels"]["zone"] == "public" and service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["spec"]["ports"] == plain.of("Service", "facing")["spec"]["ports"] and "externalTrafficPolicy" not in r.of("Service", "management")["spec"]
    budget = r.of("PodDisruptionBudget", "facing")["spec"]
    assert budget["minAvailable"] == 1 and "maxUnavailable" not in budget and r.of("PodDisruptionBudget", "management")["spec"]["maxUnavailable"] == 1
    assert len(r.all("Ingress")[0]["spec"]["tls"]) == 2
    assert r.all("HTTPRoute")[0]["spec"]["parentRefs"] == [{"name": "public", "sectionName": "https"}, {"name": "internal"}]
    assert [one["type"] for one in r.of("ScaledObject", "management")["spec"]["triggers"]] == ["cpu", "kafka", "cron"]
    alerts = {rule["alert"]: rule for rule in rules_of(r) if "alert" in rule}
    former = {rule["alert"]: rule for rule in rules_of(plain) if "alert" in rule}
    assert set(former) - set(alerts) == {ALERTS[0]} and len(rules_of(plain)) == len(rules_of(r)) + 1
    assert alerts[ALERTS[1]] == former[ALERTS[1]] | {"for": "9m"}


def check():
    """Templates whose objects a patch would not reach, or whose names a refusal would not have."""
    examples_of_values_are_valid()
    contexts_strategy_and_probes_merge_deeply()
    listed = set(re.search(r'define "shop.objects" -}}\n(.*)\n', (CHART / "templates/_patches.tpl").read_text())[1].split())
    for path in [*CHART.glob("templates/*.yaml"), *CHART.glob("templates/tests/*.yaml")]:
        name = "tests" if path.parent.name == "tests" else path.stem
        text = path.read_text()
        if name != "checks":
            assert name in listed and f'define "shop.objects.{name}"' in text and f'include "shop.patched" (list . "{name}")' in text, path.name


@case(SERVERS, set_json(patches={"*": {}, "ConfigMap": {}}), sets(topicJob__enabled="true", kafkaExporter__enabled="true"))
def an_empty_patch_changes_nothing(r):
    assert r.documents == Rendering(SERVERS + sets(topicJob__enabled="true", kafkaExporter__enabled="true")).documents


def example(value):
    """The example in the comment above a value, as far as it is indented there."""
    above = (CHART / "values.yaml").read_text().split(f"\n{value}: ")[0].split("\n\n")[-1]
    return yaml.safe_load("\n".join(line.removeprefix("#   ") for line in above.splitlines() if line.startswith("#   ")))


def examples_of_values_are_valid():
    r = Rendering([*SERVERS, *ALL, *set_json(patches=example("patches"))])
    found = [failure for document in r.documents for failure in schemas.failures(document)]
    assert not found, found
    facing, management = (r.of("Deployment", one)["spec"] for one in ("facing", "management"))
    assert facing["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "50%"}}
    pod, (own, proxy) = facing["template"]["spec"], facing["template"]["spec"]["containers"]
    assert pod["hostAliases"] and pod["initContainers"][0]["image"] == "first:1" and proxy == {"name": "proxy", "image": "proxy:1"}
    other = management["template"]["spec"]["containers"][0]
    assert own["livenessProbe"] == other["livenessProbe"] | {"periodSeconds": 30} and own["readinessProbe"] == other["readinessProbe"]
    assert r.of("Service", "facing")["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert [r.of("PodDisruptionBudget", one)["spec"]["unhealthyPodEvictionPolicy"] for one in ("facing", "management")] == ["IfHealthyBudget", "AlwaysAllow"]
    assert [one["type"] for one in r.of("HorizontalPodAutoscaler", "facing")["spec"]["metrics"]] == ["Resource", "External"]
    assert r.of("ScaledObject", "management")["spec"]["fallback"]
    assert "ShopDeadLettersWaiting" not in str(r.all("PrometheusRule"))


# Values that the chart's own rules are stricter about than Kubernetes.
MERGED = [
    *SERVERS,
    *set_json(containerSecurityContext={"capabilities": {"add": ["NET_BIND_SERVICE"]}}, podSecurityContext={"seccompProfile": {"localhostProfile": None}}),
    *set_json(patches={"Deployment/facing": {"spec": {
        "strategy": {"type": "Recreate", "rollingUpdate": None},
        "template": {"spec": {"containers": [{"name": "facing", "livenessProbe": {"httpGet": None, "exec": {"command": ["true"]}}}]}},
    }}}),
]  # fmt: skip


def contexts_strategy_and_probes_merge_deeply():
    r = Rendering(MERGED)
    facing, own = r.of("Deployment", "facing")["spec"], container(r, "facing")
    assert facing["strategy"] == {"type": "Recreate"}
    assert own["livenessProbe"] == {"exec": {"command": ["true"]}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}
    assert own["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    assert facing["template"]["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
