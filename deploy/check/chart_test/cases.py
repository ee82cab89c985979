"""Cases: values, and the expected documents. Each case is also checked by the rules, the schemas and the linter."""

import json

from rendering import ENTITIES, SECRETS, SERVERS, Rendering, chart_and_workspace, component_of, preset, sets

CASES = []
INTERNAL = sets(kafka__internal__enabled="true", mongodb__internal__enabled="true", mongodb__password=SECRETS["mongodb.password"])
LOGINS = sets(
    kafka__bootstrapServers="kafka:9093", kafka__sasl__mechanism="SCRAM-SHA-512", kafka__sasl__username="shop",
    kafka__sasl__password=SECRETS["kafka.sasl.password"], kafka__tls__enabled="true", kafka__tls__caSecret="kafka-ca",
    mongodb__hosts="mongo:27017", mongodb__username="shop", mongodb__password=SECRETS["mongodb.password"],
)  # fmt: skip


def case(*arguments):
    def register(check):
        CASES.append((check.__name__, [part for part in arguments for part in part], check))
        return check

    return register


def replicas(rendering, component):
    return rendering.of("Deployment", component)["spec"].get("replicas")


def container(rendering, component, kind="Deployment"):
    return rendering.of(kind, component)["spec"]["template"]["spec"]["containers"][0]


def ports(rendering, component):
    return rendering.of("Service", component)["spec"]["ports"][0]


@case(SERVERS)
def default_values(r):
    assert r.names("Deployment") == {"rel-shop-facing", "rel-shop-management"}
    assert (replicas(r, "facing"), replicas(r, "management")) == (2, 2)
    assert not r.all("StatefulSet") + r.all("Job") + r.all("Ingress") + r.all("PersistentVolumeClaim")
    assert len(r.all("PodDisruptionBudget")) == 2 and len(r.all("NetworkPolicy")) == 2
    assert r.of("Deployment", "facing")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001
    assert container(r, "facing")["image"] == f"shop:{chart_and_workspace()[1]}"
    assert len(set(chart_and_workspace())) == 1, f"chart, app and workspace: {chart_and_workspace()}"
    facing, management = r.variables("facing"), r.variables("management")
    assert facing["KAFKA_BOOTSTRAP_SERVERS"] == "kafka-0:9092,kafka-1:9094"
    assert facing["SHOP_REQUIRE_SERVERS"] == management["SHOP_REQUIRE_SERVERS"] == "on", "without its addresses, a service must not start embedded"
    assert not {"KAFKA_REPLICAS", "KAFKA_CREATE_TOPICS"} & set(facing)
    assert not {"SHOP_HOSTS", "SHOP_CORS_ALLOW_ORIGINS", "SHOP_RATE_READS"} & set(facing), "the defaults are the services'"
    assert not [name for name in facing if name.startswith("MONGO")], "facing does not connect to MongoDB"
    assert management["MONGODB_URI_FILE"] and "MANAGEMENT_URL" not in management
    assert facing["SHOP_ROLES"] == management["SHOP_ROLES"] == "purchases" and "USERS_URL" not in facing
    assert management["MONGODB_DATABASE"] == "purchases" and "POSTGRES_URL_FILE" not in management
    assert r.all("Secret")[0]["stringData"] == {"uri": "mongodb://mongo:27018/"}
    egress = {port["port"] for rule in r.of("NetworkPolicy", "management")["spec"]["egress"] for port in rule["ports"]}
    assert egress == {53, 9092, 9094, 27018}, egress
    assert [pod["metadata"]["annotations"]["helm.sh/hook"] for pod in r.all("Pod")] == ["test", "test"]


@case(SERVERS, sets(auth__mode="keys", auth__keysSecret="shop-keys", auth__serviceTokenSecret="shop-token"))
def authentication_by_keys(r):
    facing, management = r.variables("facing"), r.variables("management")
    assert facing["SHOP_AUTH"] == management["SHOP_AUTH"] == "keys"
    assert facing["SHOP_API_KEYS_FILE"] == management["SHOP_API_KEYS_FILE"] == "/etc/shop/secrets/api-keys"
    assert facing["SHOP_SERVICE_TOKEN_FILE"] == "/etc/shop/secrets/service-token" and "SHOP_SERVICE_TOKEN_FILE" not in management


@case(sets(mode="embedded", auth__mode="jwt", auth__issuer="https://issuer.example", auth__audience="shop"), sets(auth__jwksUrl="https://issuer.example:8443/keys"))
def authentication_by_tokens(r):
    facing = r.variables("facing")
    assert (facing["SHOP_AUTH"], facing["SHOP_AUTH_AUDIENCE"]) == ("jwt", "shop")
    assert (facing["SHOP_AUTH_ISSUER"], facing["SHOP_AUTH_JWKS_URL"]) == ("https://issuer.example", "https://issuer.example:8443/keys")
    egress = {port["port"] for rule in r.of("NetworkPolicy", "facing")["spec"]["egress"] for port in rule["ports"]}
    assert egress == {53, 8443}, egress


def named(*names):
    """The default names of topics or groups."""
    return [f"ns.rel-shop.{name}" for name in names]


def at_kafka(variables):
    return {value for name, value in variables.items() if name.endswith(("_TOPIC", "_GROUP_ID"))}


@case(SERVERS, ENTITIES)
def releases_on_one_kafka_share_no_topics(r):
    mine = at_kafka(r.variables("management"))
    assert mine == set(named("purchases", "purchase-group", "user_created", "user_service_group", "order_created", "order_service_group"))
    assert at_kafka(r.variables("facing")) <= mine
    all_roles = SERVERS + ENTITIES
    for other in (Rendering(all_roles, "other"), Rendering(all_roles, namespace="elsewhere"), Rendering(all_roles + sets(nameOverride="store"))):
        component = other.of("ConfigMap", "management")["data"]
        assert not mine & at_kafka(component), "the releases would consume each other's purchases"


LONG = "a-release-with-a-name-of-forty-four-characters"


@case(SERVERS, sets(fullnameOverride=f"{LONG}-1"))
def long_release_names_stay_distinct(r):
    other = Rendering(SERVERS + sets(fullnameOverride=f"{LONG}-2"))
    for kind in ("Deployment", "Service", "ConfigMap", "Pod", "Secret"):
        assert r.names(kind) and not r.names(kind) & other.names(kind), f"{kind}: the releases have the same names"
    assert not at_kafka(r.variables("facing")) & at_kafka(other.variables("facing"))
    assert r.names("Deployment") == Rendering(SERVERS + sets(fullnameOverride=f"{LONG}-1")).names("Deployment")


@case(SERVERS, sets(facing__fullnameOverride="f" * 50 + "-one", management__fullnameOverride="f" * 50 + "-two"))
def long_service_names_stay_distinct(r):
    assert len(r.names("Deployment")) == len(r.names("Pod")) == 2


@case(SERVERS, sets(settings__drainSeconds=100, preStopSeconds=0))
def grace_period_exceeds_the_drain(r):
    pod = r.of("Deployment", "facing")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 100
    assert "lifecycle" not in pod["containers"][0]


BOTH = ("facing", "management")
# A value below `settings`, what it is set to, its variable, and the services that get it.
OF_SETTINGS = [
    ("accessLog", "1/100", "SHOP_ACCESS_LOG", BOTH),
    ("otelExporterOtlpEndpoint", "http://collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT", BOTH),
    ("deadLetterLimit", "1000000", "SHOP_DEAD_LETTER_LIMIT", BOTH),
    ("hosts", "shop.example", "SHOP_HOSTS", BOTH),
    ("corsAllowOrigins", "https://shop.example", "SHOP_CORS_ALLOW_ORIGINS", ["facing"]),
    ("rateWrites", "20", "SHOP_RATE_WRITES", ["facing"]),
    ("clientConnections", "50", "SHOP_CLIENT_CONNECTIONS", ["facing"]),
    ("trustedProxies", "10.0.0.0/8", "SHOP_TRUSTED_PROXIES", ["facing"]),
]


@case(SERVERS, [part for name, text, *_ in OF_SETTINGS for part in ("--set", f"settings.{name}={text}")])
def settings_become_variables(r):
    for name, text, variable, services in OF_SETTINGS:
        found = {service: r.variables(service)[variable] for service in BOTH if variable in r.variables(service)}
        assert found == {service: text for service in services}, f"settings.{name}: {variable} is {found}"


@case(
    SERVERS, sets(users__enabled="true", postgres__existingSecret="shop-db", settings__kafkaClientId="me", settings__currency="EUR"),
    ["--set-json", 'settings.roles=["purchases","users"]', "--set-json", "settings.refunds=false"],
)  # fmt: skip
def settings_that_the_chart_does_not_name(r):
    for service in ("facing", "management", "users"):
        assert r.variables(service)["SHOP_KAFKA_CLIENT_ID"] == "me"
    assert r.variables("management")["SHOP_REFUNDS"] == "off", "YAML reads off as false"
    assert not {"SHOP_REFUNDS", "SHOP_CURRENCY"} & set(r.variables("users")), "users would refuse to start"
    assert "SHOP_INGEST" not in r.variables("facing"), "the default is that of the services"


@case(INTERNAL, sets(mongodb__database="shopdb"))
def internal_servers(r):
    assert {component_of(one) for one in r.all("StatefulSet")} == {"kafka", "mongodb"}
    assert r.variables("facing")["KAFKA_BOOTSTRAP_SERVERS"] == "rel-shop-kafka:9092"
    assert r.variables("management")["MONGODB_HOSTS"] == "rel-shop-mongodb:27017"
    for one in r.all("StatefulSet"):
        assert one["spec"]["volumeClaimTemplates"], "the data would be lost with the pod"
    assert container(r, "mongodb", "StatefulSet")["args"] == ["--auth"]
    users = r.of("ConfigMap", "mongodb")["data"]["users.js"]
    management = r.variables("management")
    assert f'user: "{management["MONGODB_USERNAME"]}"' in users
    assert 'roles: [{ role: "dbOwner", db: "shopdb" }],' in users and management["MONGODB_DATABASE"] == "shopdb"
    assert f'getSiblingDB("{management["MONGODB_AUTHDB"]}")' in users and management["MONGODB_PASSWORD_FILE"] in users
    kafka = {variable["name"]: variable.get("value") for variable in container(r, "kafka", "StatefulSet")["env"]}
    assert kafka["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://rel-shop-kafka.$(POD_NAMESPACE).svc:9092"
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert "annotations" not in r.all("Secret")[0]["metadata"], "a configured password is not kept after uninstall"
    assert len(r.all("NetworkPolicy")) == 4
    assert r.of("NetworkPolicy", "mongodb")["spec"]["egress"] == []


@case(sets(kafka__internal__enabled="true", mongodb__internal__enabled="true"))
def generated_password_is_kept(r):
    secret = r.all("Secret")[0]
    assert len(secret["stringData"]["password"]) >= 32
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@case(LOGINS)
def external_servers_with_credentials(r):
    facing, management = r.variables("facing"), r.variables("management")
    assert (facing["KAFKA_USERNAME"], facing["KAFKA_SASL_MECHANISM"], facing["KAFKA_TLS"]) == ("shop", "SCRAM-SHA-512", "on")
    assert facing["KAFKA_PASSWORD_FILE"] and facing["KAFKA_CA_FILE"] and management["MONGODB_PASSWORD_FILE"]
    assert r.names("Secret") == {"rel-shop-kafka-login", "rel-shop-mongodb-login"}
    volume = r.of("Deployment", "facing")["spec"]["template"]["spec"]["volumes"][0]["projected"]
    assert volume["defaultMode"] == 0o440
    assert {source["secret"]["name"] for source in volume["sources"]} == {"rel-shop-kafka-login", "kafka-ca"}


@case(
    sets(
        kafka__bootstrapServers="k:9092", kafka__sasl__mechanism="PLAIN", kafka__sasl__username="u",
        kafka__sasl__existingSecret="theirs", kafka__sasl__passwordKey="kafka", mongodb__existingSecret="theirs-too",
    )
)  # fmt: skip
def existing_secrets(r):
    assert not r.all("Secret")
    sources = r.of("Deployment", "management")["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    assert [(source["secret"]["name"], source["secret"]["items"][0]["key"]) for source in sources] == [
        ("theirs", "kafka"),
        ("theirs-too", "uri"),
    ]


@case(
    sets(
        kafka__bootstrapServers="k:9092", kafka__sasl__mechanism="PLAIN", kafka__sasl__existingSecret="theirs", kafka__sasl__usernameKey="user",
        mongodb__existingSecret="theirs-too", verify__schedule="@daily", kafkaExporter__enabled="true", topicJob__enabled="true",
        management__autoscaling__type="keda",
    ),
)  # fmt: skip
def user_of_kafka_in_a_secret(r):
    pods = {component_of(document): pod["containers"][0]["env"] for document, _, pod in r.workloads() if document["kind"] != "Pod"}
    assert set(pods) == {"facing", "management", "verify", "kafka-exporter", "topic-job"}, set(pods)
    for component, env in pods.items():
        user = next(variable for variable in env if variable["name"] == "KAFKA_USERNAME")
        assert user == {"name": "KAFKA_USERNAME", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "user"}}}, f"{component}: {user}"
    assert "KAFKA_USERNAME" not in r.of("ConfigMap", "management")["data"], "an empty user beside that of the Secret"
    authentication = r.of("TriggerAuthentication", "management")["spec"]
    assert "env" not in authentication and {"parameter": "username", "name": "theirs", "key": "user"} in authentication["secretTargetRef"]


@case(
    SERVERS,
    sets(facing__autoscaling__type="hpa", facing__autoscaling__memoryPercent=80, facing__autoscaling__requestsPerSecond=100),
)
def facing_with_hpa(r):
    assert replicas(r, "facing") is None and replicas(r, "management") == 2
    metrics = r.of("HorizontalPodAutoscaler", "facing")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Resource", "Pods"]
    assert metrics[2]["pods"]["metric"]["name"] == "http_requests_per_second"
    assert not r.all("ScaledObject")


@case(LOGINS, sets(facing__autoscaling__type="keda", management__autoscaling__type="keda"))
def facing_and_management_with_keda(r):
    assert replicas(r, "facing") is None and replicas(r, "management") is None
    cpu = r.of("ScaledObject", "facing")["spec"]["triggers"][0]
    assert (cpu["type"], cpu["metricType"], cpu["metadata"]) == ("cpu", "Utilization", {"value": "70"})
    scaled = r.all("ScaledObject")[1]["spec"]
    assert [trigger["type"] for trigger in scaled["triggers"]] == ["cpu", "kafka"], "management is scaled by CPU and consumer lag"
    kafka = scaled["triggers"][1]["metadata"]
    assert (scaled["maxReplicaCount"], scaled["triggers"][0]["metadata"], kafka["lagThreshold"]) == (5, {"value": "70"}, "10000")
    assert kafka["limitToPartitionsWithLag"] == kafka["excludePersistentLag"] == "true"
    assert (kafka["sasl"], kafka["tls"], kafka["offsetResetPolicy"]) == ("scram_sha512", "enable", "earliest")
    assert (kafka["topic"], kafka["consumerGroup"]) == ("ns.rel-shop.purchases", "ns.rel-shop.purchase-group")
    authentication = r.of("TriggerAuthentication", "management")["spec"]
    assert {one["parameter"] for one in authentication["secretTargetRef"]} == {"password", "ca"}
    username = authentication["env"][0]
    assert username["parameter"] == "username" and username["name"] in r.variables("management")
    assert not r.all("HorizontalPodAutoscaler")


LARGE = 12345678
LARGE_VALUES = {
    "management.autoscaling": {"type": "keda", "lagThreshold": LARGE, "cpuPercent": 70},
    "facing.autoscaling": {"type": "hpa", "requestsPerSecond": LARGE},
    "settings.deadLetterLimit": LARGE, "settings.rateWrites": LARGE,
    "kafka.partitions": LARGE, "kafka.replicationFactor": LARGE,
}  # fmt: skip


@case(SERVERS, [part for name, value in LARGE_VALUES.items() for part in ("--set-json", f"{name}={json.dumps(value)}")])
def numbers_of_values_files_have_no_exponent(r):
    written = json.dumps(r.documents)
    assert "e+0" not in written, written[written.index("e+0") - 60 :][:80]
    assert r.of("ScaledObject", "management")["spec"]["triggers"][-1]["metadata"]["lagThreshold"] == str(LARGE)


@case(SERVERS, sets(management__replicas=7, kafka__partitions=3, facing__service__port=80, management__service__port=80))
def more_replicas_than_partitions_and_other_service_ports(r):
    assert replicas(r, "management") == 7 and r.variables("management")["KAFKA_PARTITIONS"] == "3"
    assert r.variables("facing")["MANAGEMENT_URL"] == "http://rel-shop-management:80"
    assert r.variables("management")["PORT"] == "3001"


@case(SERVERS, sets(management__autoscaling__type="keda", management__autoscaling__maxReplicas=12, management__autoscaling__cpuPercent=0))
def keda_by_lag_only(r):
    scaled = r.of("ScaledObject", "management")["spec"]
    assert scaled["maxReplicaCount"] == 12 and [trigger["type"] for trigger in scaled["triggers"]] == ["kafka"]
    assert "cooldownPeriod" not in scaled, "management is never scaled to 0"


@case(INTERNAL, sets(management__autoscaling__type="keda", kafkaExporter__enabled="true", topicJob__enabled="true"))
def keda_with_internal_kafka(r):
    trigger = r.of("ScaledObject", "management")["spec"]["triggers"][1]
    assert trigger["metadata"]["bootstrapServers"] == "rel-shop-kafka.ns.svc:9092", "KEDA is in another namespace"
    assert "authenticationRef" not in trigger and not r.all("TriggerAuthentication")
    peers = r.of("NetworkPolicy", "kafka")["spec"]["ingress"][0]["from"]
    assert peers[-1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "keda"}
    reached = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers[:-1]}
    assert reached == {"facing", "management", "kafka-exporter", "topic-job", "verify"}


@case(LOGINS, ENTITIES, sets(kafkaExporter__enabled="true", topicJob__enabled="true", topicJob__replicationFactor=3))
def exporter_and_topic_job(r):
    exporter = container(r, "kafka-exporter")
    topics = named("purchases", "user_created", "order_created")
    groups = named("purchase-group", "user_service_group", "order_service_group")
    for flag, names, ending in (("topic", topics, "([.]dlq)?"), ("group", groups, "")):
        expected = f"--{flag}.filter=^({'|'.join(names)}){ending}$"
        assert expected in [argument.replace("\\.", ".") for argument in exporter["args"]], expected
    assert "--sasl.mechanism=scram-sha512" in exporter["args"]
    password = next(variable for variable in exporter["env"] if variable["name"] == "KAFKA_PASSWORD")
    assert password["valueFrom"]["secretKeyRef"]["name"] == "rel-shop-kafka-login"
    job = r.all("Job")[0]
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert [variables["TOPIC"], *variables["EVENT_TOPICS"].split()] == topics
    assert int(variables["PARTITIONS"]) >= 5 and variables["REPLICATION"] == "3"
    assert variables["KAFKA_PASSWORD_FILE"] == "/etc/shop/secrets/kafka-password"
    policy = job["spec"]["podFailurePolicy"]["rules"][0]
    assert (policy["action"], policy["onExitCodes"]["values"]) == ("FailJob", [3]) and job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    dead_letters = [f"{topic}.dlq" for topic in topics]
    for component, waited in (("facing", topics[:1]), ("management", topics + dead_letters)):
        assert r.variables(component)["KAFKA_CREATE_TOPICS"] == "off", "the services would create the topics with one replica before the job"
        init = r.of("Deployment", component)["spec"]["template"]["spec"]["initContainers"]
        assert [one["command"] for one in init] == [["/bin/bash", "/etc/shop/topics/topics.sh", "wait"]]
        variables = {variable["name"]: variable["value"] for variable in init[0]["env"]}
        assert (variables["TOPICS"].split(), variables["REPLICATION"]) == (waited, "3"), component
        assert variables["KAFKA_PASSWORD_FILE"] == "/etc/shop/secrets/kafka-password"


@case(SERVERS, sets(kafka__replicationFactor=3, kafka__partitions=7))
def replicas_set_by_the_services(r):
    for component in ("facing", "management"):
        variables = r.variables(component)
        assert (variables["KAFKA_REPLICAS"], variables["KAFKA_PARTITIONS"]) == ("3", "7") and "KAFKA_CREATE_TOPICS" not in variables
        assert "initContainers" not in r.of("Deployment", component)["spec"]["template"]["spec"], "nothing would create the topics that it waits for"


@case(SERVERS, ENTITIES, sets(kafka__replicationFactor=3, topicJob__enabled="true", users__enabled="true"))
def replicas_set_by_the_job(r):
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert variables["REPLICATION"] == "3" and "KAFKA_REPLICAS" not in r.variables("management")
    users = r.of("Deployment", "users")["spec"]["template"]["spec"]["initContainers"][0]["env"][0]
    assert users["value"].split() == named("user_created", "order_created", "user_created.dlq", "order_created.dlq")
    other = Rendering(SERVERS + sets(kafka__replicationFactor=3, topicJob__enabled="true", imagePullSecrets="null", topicJob__image="apache/kafka:4.0.0"))
    assert not other.names("Job") & r.names("Job"), "jobs are immutable"


@case(sets(mode="embedded"))
def embedded_mode(r):
    assert r.names("Deployment") == {"rel-shop-facing"} and r.names("Service") == {"rel-shop-facing"}
    spec = r.of("Deployment", "facing")["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    claim = r.all("PersistentVolumeClaim")[0]["metadata"]
    assert spec["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["name"]
    assert claim["annotations"] == {"helm.sh/resource-policy": "keep"}
    variables = r.variables("facing")
    assert variables["SHOP_DATA_DIR"] == "/data" == spec["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    assert not [name for name in variables if name.startswith(("KAFKA", "MONGO", "MANAGEMENT", "SHOP_REQUIRE"))]
    assert not r.all("PodDisruptionBudget") + r.all("Secret"), "a budget for one replica would only block a drain"
    assert r.of("NetworkPolicy", "facing")["spec"]["egress"] == [] and len(r.all("Pod")) == 1


@case(sets(mode="embedded", persistence__existingClaim="theirs"))
def embedded_with_existing_volume(r):
    assert not r.all("PersistentVolumeClaim")
    assert r.of("Deployment", "facing")["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "theirs"


@case(SERVERS, sets(ingress__enabled="true", ingress__host="shop.example", ingress__tls__enabled="true", ingress__tls__secretName="tls"))
def ingress_publishes_the_customer_paths(r):
    spec = r.all("Ingress")[0]["spec"]
    assert spec["tls"] == [{"secretName": "tls", "hosts": ["shop.example"]}]
    paths = {path["path"]: path["backend"]["service"]["name"] for path in spec["rules"][0]["http"]["paths"]}
    assert set(paths) == {"/", "/page", "/buy", "/getAllUserBuys", "/v1/purchases", "/v1/purchases/events", "/v1/summary", "/v1/totals"}, "published paths differ from those that customers need"
    assert set(paths.values()) == {"rel-shop-facing"}
    for path in ("/metrics", "/livez", "/readyz", "/ready", "/healthz", "/health", "/-/ready", "/users/1", "/orders", "/api/metrics"):
        assert not reaches(r, path), f"{path} is published"
    for path in ("/", "/page/facing.js", "/buy", "/getAllUserBuys/u1", "/v1/purchases", "/v1/purchases/events", "/v1/summary", "/v1/totals"):
        assert reaches(r, path), f"{path} is not published"


def reaches(rendering, path):
    """Whether the ingress publishes a path, by the path matching of Kubernetes."""
    rules = [rule for ingress in rendering.all("Ingress") for host in ingress["spec"]["rules"] for rule in host["http"]["paths"]]
    return any(
        path == rule["path"] or (rule["pathType"] == "Prefix" and f"{path}/".startswith(f"{rule['path'].rstrip('/')}/"))
        for rule in rules
    )


EXTRA_PATHS = [{"path": path, "type": "Prefix", "service": service} for path, service in (("/users", "facing"), ("/buyList", "management"))]


@case(SERVERS, sets(ingress__enabled="true"), ["--set-json", f"ingress.extraPaths={json.dumps(EXTRA_PATHS)}"])
def ingress_with_extra_paths(r):
    assert reaches(r, "/users/1") and reaches(r, "/buy") and not reaches(r, "/orders/1")
    assert "from" not in r.of("NetworkPolicy", "management")["spec"]["ingress"][0], "the policy would block the ingress"


@case(SERVERS, ["--set-json", 'networkPolicy.facingFrom=[{"podSelector":{"matchLabels":{"app":"gateway"}}}]'])
def facing_for_selected_peers(r):
    peers = r.of("NetworkPolicy", "facing")["spec"]["ingress"][0]["from"]
    assert peers[0] == {"podSelector": {"matchLabels": {"app": "gateway"}}}
    assert peers[-1]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


@case(SERVERS, sets(networkPolicy__enabled="false", facing__pdb__enabled="false", serviceAccount__create="false", tests__enabled="false"))
def optional_parts_disabled(r):
    assert not r.all("NetworkPolicy") + r.all("ServiceAccount") + r.all("Pod")
    assert {component_of(one) for one in r.all("PodDisruptionBudget")} == {"management"}
    assert r.of("Deployment", "facing")["spec"]["template"]["spec"]["serviceAccountName"] == "default"


MONITORING = sets(metrics__serviceMonitor__enabled="true", metrics__prometheusRule__enabled="true", metrics__dashboard__enabled="true")


@case(SERVERS, MONITORING, sets(kafkaExporter__enabled="true"), preset("user-buy-list"), ["--set", "mongodb.uri=mongodb://mongodb:27018/"])
def prometheus_operator(r):
    monitor = r.all("ServiceMonitor")[0]["spec"]
    chosen = monitor["selector"]["matchExpressions"][0]["values"]
    scraped = [one["metadata"]["name"] for one in r.all("Service") if component_of(one) in chosen]
    assert scraped == ["kafka-exporter", "customer-facing", "customer-management"], f"{scraped}: an alias would be scraped twice"
    assert r.all("PrometheusRule")[0]["spec"]["groups"], "the rule has no groups"
    dashboard = next(one for one in r.all("ConfigMap") if one["metadata"]["name"].endswith("-dashboard"))
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1" and '"panels"' in dashboard["data"]["shop.json"]


@case(SERVERS, MONITORING, sets(settings__adminPort=9000, metrics__annotations="true", kafkaExporter__enabled="true"))
def admin_listener(r):
    for component in ("facing", "management"):
        pod = r.of("Deployment", component)["spec"]["template"]
        assert r.variables(component)["SHOP_ADMIN_ADDR"] == "[::]:9000"
        assert {"name": "admin", "containerPort": 9000} in pod["spec"]["containers"][0]["ports"]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == "9000"
        assert [port["name"] for port in r.of("Service", component)["spec"]["ports"]] == ["http"], "the admin port is published"
        rules = r.of("NetworkPolicy", component)["spec"]["ingress"]
        admin = next(rule for rule in rules if rule["ports"][0]["port"] == "admin")
        assert admin["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    monitors = {one["metadata"]["name"]: one["spec"] for one in r.all("ServiceMonitor")}
    assert monitors["rel-shop"]["endpoints"][0]["targetPort"] == "admin"
    assert monitors["rel-shop-kafka-exporter"]["endpoints"][0]["port"] == "http"


@case(SERVERS, sets(image__repository="registry.example/shop", image__digest=f"sha256:{'0' * 64}"), ["--set-json", 'imagePullSecrets=[{"name":"pull"}]'])
def image_by_digest(r):
    assert container(r, "management")["image"] == f"registry.example/shop@sha256:{'0' * 64}"
    assert r.of("Deployment", "facing")["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]


KEYS = sets(auth__mode="keys", auth__keysSecret="shop-keys")


@case(SERVERS, KEYS, sets(auth__serviceTokenSecret="shop-token"))
def tests_with_a_token(r):
    for pod in r.all("Pod"):
        script = pod["spec"]["containers"][0]["args"][0]
        assert 'Authorization: Bearer $(cat /etc/shop/secrets/token)' in script and "'/v1/purchases?userid=nobody'" in script
        assert pod["spec"]["volumes"][0]["projected"]["sources"] == [{"secret": {"name": "shop-token", "items": [{"key": "token", "path": "token"}]}}]
    (embedded,) = Rendering(KEYS + sets(mode="embedded")).all("Pod")
    script = embedded["spec"]["containers"][0]["args"][0]
    assert "for path in /livez /openapi.json; do" in script and "volumes" not in embedded["spec"], "without a token, these are public"
