"""Rules for all renderings of the chart."""

import functools
import os
import pathlib
import re

from rendering import SECRETS, SETTINGS, component_of

OWN = ("facing", "management", "users", "orders")
# Flags of danielqsj/kafka_exporter v1.9.0.
EXPORTER_FLAGS = {
    "kafka.server", "kafka.version", "web.listen-address", "topic.filter", "group.filter", "sasl.enabled",
    "sasl.mechanism", "sasl.username", "sasl.password", "tls.enabled", "tls.ca-file", "tls.cert-file", "tls.key-file",
}  # fmt: skip


@functools.cache
def settings_of_the_services():
    """All names of settings, and those of secrets."""
    known, secrets = set(), set()
    for setting in SETTINGS:
        names = {setting["name"], *setting["other_names"]}
        known |= names
        if setting["secret"]:
            secrets |= names
    return known | {f"{secret}_FILE" for secret in secrets}, secrets


@functools.cache
def scaler_settings(trigger):
    source = pathlib.Path(os.environ["KEDA_SCALERS"], {"kafka": "kafka_scaler.go", "cpu": "cpu_memory_scaler.go", "cron": "cron_scaler.go"}[trigger])
    names = set(re.findall(r'keda:"name=(\w+), *order=triggerMetadata', source.read_text()))
    assert names, f"the source of KEDA's {trigger} scaler has another format"
    return names


def containers_of(pod):
    return pod["containers"] + pod.get("initContainers", [])


def names_are_unique_and_valid(rendering):
    seen = set()
    for document in rendering.documents:
        name = document["kind"], document["metadata"]["name"]
        if name in seen:
            yield f"{name} is duplicated"
        seen.add(name)
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name[1]):
            yield f"{name} is not a valid name"


def restricted_pods(rendering):
    """The restricted Pod Security Standard, and a read-only root file system."""
    for document, _, pod in rendering.workloads():
        name = f"{document['kind']} {document['metadata']['name']}"
        context = pod.get("securityContext", {})
        # A cluster that assigns the user, such as OpenShift, assigns the groups as well.
        assigned = not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
        if context.get("runAsNonRoot") is not True or not (context.get("runAsUser") or assigned):
            yield f"{name} may run as root"
        if component_of(document) in OWN + ("test",) and not assigned and (context["runAsUser"], context["fsGroup"]) != (10001, 10001):
            yield f"{name} does not run as 10001"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name} mounts a service account token"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name} has service links enabled"
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(host):
                yield f"{name} has {host}"
        for volume in pod.get("volumes", []):
            kinds = set(volume) - {"name"}
            if not kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}:
                yield f"{name} has a volume of {kinds}"
        for container in containers_of(pod):
            context = container.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
                yield f"{name} may gain privileges"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name} keeps capabilities"
            if context.get("readOnlyRootFilesystem") is not True and component_of(document) != "kafka":
                yield f"{name} has a writable root file system"


def containers_have_limits(rendering):
    for document, _, pod in rendering.workloads():
        for container in containers_of(pod):
            name = f"{document['metadata']['name']}/{container['name']}"
            resources = container.get("resources", {})
            if "memory" not in resources.get("limits", {}) or "cpu" not in resources.get("requests", {}):
                yield f"{name} has no memory limit or no CPU request"
            if not re.search(r":[^/]*\d|@sha256:", container["image"]):
                yield f"{name} has an image without a version: {container['image']}"


def no_service_account_tokens(rendering):
    for account in rendering.all("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']} mounts tokens"


def secrets_stay_in_secrets(rendering):
    for document in rendering.documents:
        if document["kind"] == "Secret":
            continue
        for text in (*SECRETS.values(), "mongodb://"):
            if text in str(document):
                yield f"{document['kind']} {document['metadata']['name']} contains {text}"
    secrets = settings_of_the_services()[1]
    for document, _, pod in rendering.workloads():
        for container in containers_of(pod):
            for variable in container.get("env", []):
                secret = variable["name"] in secrets or re.search("PASSWORD$|_URI$|TOKEN$", variable["name"])
                if secret and "value" in variable:
                    yield f"{document['metadata']['name']}: {variable['name']} is not read from a Secret"


def mounts_and_volumes_agree(rendering):
    for document, _, pod in rendering.workloads():
        name = document["metadata"]["name"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        templates = document["spec"].get("volumeClaimTemplates", [])
        volumes |= {template["metadata"]["name"] for template in templates}
        mounted = {mount["name"] for container in containers_of(pod) for mount in container.get("volumeMounts", [])}
        if volumes != mounted:
            yield f"{name}: volumes {sorted(volumes)}, mounted {sorted(mounted)}"
        for volume in pod.get("volumes", []):
            required = volume.get("configMap", {}).get("name")
            if required and required not in rendering.names("ConfigMap"):
                yield f"{name}: ConfigMap {required} is missing"


def labels_of_pods(rendering):
    return [(metadata["labels"], pod) for _, metadata, pod in rendering.workloads()]


def chosen(rendering, selector):
    return [pod for labels, pod in labels_of_pods(rendering) if selector.items() <= labels.items()]


def selectors_find_pods(rendering):
    for document in rendering.documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        selectors = {
            "Service": [spec.get("selector")],
            "PodDisruptionBudget": [spec.get("selector", {}).get("matchLabels")],
            "NetworkPolicy": [spec.get("podSelector", {}).get("matchLabels")],
        }.get(kind, [])
        for selector in selectors:
            pods = chosen(rendering, selector)
            components = {labels["app.kubernetes.io/component"] for labels, pod in labels_of_pods(rendering) if pod in pods}
            if len(components) != 1:
                yield f"{kind} {name} selects {sorted(components)}"
            ports = {port.get("name") for pod in pods for one in pod["containers"] for port in one.get("ports", [])}
            required = {port["targetPort"] for port in spec.get("ports", [])}
            for rule in spec.get("ingress", []):
                required |= {port["port"] for port in rule.get("ports", [])}
            if not {port for port in required if isinstance(port, str)} <= ports:
                yield f"{kind} {name} uses the ports {required}, its pods have {ports}"
        if kind in ("Deployment", "StatefulSet"):
            if not spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items():
                yield f"{kind} {name} does not select its pods"


def routes_reach_services(rendering):
    used = [path["backend"]["service"] for one in rendering.all("Ingress") for rule in one["spec"]["rules"] for path in rule["http"]["paths"]]
    used += [{"name": to["name"], "port": {"number": to["port"]}} for one in rendering.all("HTTPRoute") for rule in one["spec"]["rules"] for to in rule["backendRefs"]]
    for backend in used:
        ports = [{"name": port["name"], "number": port["port"]} for port in rendering.one("Service", backend["name"])["spec"]["ports"]]
        if not any(backend["port"].items() <= port.items() for port in ports):
            yield f"a route leads to {backend}, whose ports are {ports}"


def probes_use_their_paths(rendering):
    for document, _, pod in rendering.workloads():
        component = component_of(document)
        if component not in OWN or document["kind"] != "Deployment":
            continue
        container = pod["containers"][0]
        variables = rendering.variables(component)
        for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
            given = container.get(f"{probe}Probe", {})
            request = given.get("httpGet")
            if "SHOP_ADMIN_ADDR" in variables:
                fits = request == {"path": path, "port": "admin"}
            elif "SHOP_TLS_CLIENT_CA_FILE" in variables:
                # The kubelet has no certificate.
                request, fits = given, not request and ("exec" if probe == "readiness" else "tcpSocket") in given
            else:
                scheme = {"scheme": "HTTPS"} if "SHOP_TLS_CERT_FILE" in variables else {}
                fits = request == {"path": path, "port": "http"} | scheme
            if not fits:
                yield f"{component}: the {probe} probe is {request}"


def budgets_do_not_block_drains(rendering):
    for budget in rendering.all("PodDisruptionBudget"):
        if budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{budget['metadata']['name']}: pods that are not ready block a drain"


def settings_are_known(rendering):
    known = settings_of_the_services()[0]
    for deployment in rendering.all("Deployment"):
        component = component_of(deployment)
        if component not in OWN:
            continue
        variables = rendering.variables(component)
        if unknown := set(variables) - known:
            yield f"{component} does not support {sorted(unknown)}"
        pod = deployment["spec"]["template"]["spec"]
        port = pod["containers"][0]["ports"][0]["containerPort"]
        if variables["PORT"] != str(port):
            yield f"{component} listens on {variables['PORT']}, its port is {port}"
        pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod["terminationGracePeriodSeconds"] <= int(variables["SHOP_DRAIN_TIMEOUT"].removesuffix("s")) + pause:
            yield f"{component} is killed before its drain timeout"
        files = {
            f"/etc/shop/secrets/{item['path']}"
            for volume in pod.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        }
        named = {value for name, value in variables.items() if name.endswith("_FILE")}
        # The connection string names it.
        files.discard("/etc/shop/secrets/mongodb-ca.crt")
        if files != named:
            yield f"{component} reads {sorted(named)}, mounted are {sorted(files)}"
        for variable in {"MANAGEMENT_URL", "USERS_URL", "ORDERS_URL"} & set(variables):
            scheme, host, port = re.fullmatch(r"(https?)://(.+):(\d+)", variables[variable]).groups()
            if (scheme == "https") != ("SHOP_TLS_CERT_FILE" in variables):
                yield f"{component} calls {host} by {scheme}"
            ports = rendering.one("Service", host)["spec"]["ports"]
            if [known["port"] for known in ports] != [int(port)]:
                yield f"{component} connects to {host}:{port}, which has the ports {ports}"


def each_role_has_one_deployment(rendering):
    """Two deployments of a role share one consumer group: with different databases, each would miss events."""
    roles = {}
    for deployment in rendering.all("Deployment"):
        component = component_of(deployment)
        if component not in OWN:
            continue
        program = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
        if program != [f"/usr/local/bin/{'facing' if component == 'facing' else 'management'}"]:
            yield f"{component} runs {program}"
        roles[component] = rendering.variables(component)["SHOP_ROLES"].split(",")
    facing = roles.pop("facing", None)
    deployed = [role for own in roles.values() for role in own]
    if roles and len(deployed) != len(set(deployed)):
        yield f"a role has two deployments: {roles}"
    if facing and roles and set(facing) != set(deployed):
        yield f"facing has the roles {facing}, deployments are {roles}"
    if facing and "purchases" not in facing:
        yield "facing without purchases"


def one_autoscaler_per_deployment(rendering):
    scaled = set()
    for scaler in rendering.all("HorizontalPodAutoscaler") + rendering.all("ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        if target in scaled:
            yield f"{target} has two autoscalers"
        scaled.add(target)
    for deployment in rendering.all("Deployment"):
        name = deployment["metadata"]["name"]
        if ("replicas" in deployment["spec"]) == (name in scaled):
            yield f"{name}: replicas {deployment['spec'].get('replicas')}, an autoscaler: {name in scaled}"
    if missing := scaled - rendering.names("Deployment"):
        yield f"autoscalers without a deployment: {missing}"


def scaler_settings_exist(rendering):
    for scaler in rendering.all("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            if unknown := set(trigger["metadata"]) - scaler_settings(trigger["type"]):
                yield f"KEDA's {trigger['type']} scaler does not support {sorted(unknown)}"
            reference = trigger.get("authenticationRef", {}).get("name")
            if reference and reference not in rendering.names("TriggerAuthentication"):
                yield f"TriggerAuthentication {reference} is missing"


def exporter_flags_exist(rendering):
    for deployment in rendering.all("Deployment"):
        if component_of(deployment) == "kafka-exporter":
            given = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
            if unknown := {flag.removeprefix("--").split("=")[0] for flag in given} - EXPORTER_FLAGS:
                yield f"kafka-exporter does not support {sorted(unknown)}"


RULES = [
    names_are_unique_and_valid, restricted_pods, containers_have_limits, no_service_account_tokens, secrets_stay_in_secrets,
    mounts_and_volumes_agree, selectors_find_pods, routes_reach_services, probes_use_their_paths, budgets_do_not_block_drains, settings_are_known,
    each_role_has_one_deployment, one_autoscaler_per_deployment, scaler_settings_exist, exporter_flags_exist,
]  # fmt: skip
