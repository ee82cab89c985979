"""Presets: names, ports and settings are those of the replaced system."""

from cases import LOGINS, SERVERS, case, container, ports, replicas
from rendering import SECRETS, preset, sets


def assert_settings(rendering, dialect, topic, group, database, collection):
    for component in ("facing", "management"):
        variables = rendering.variables(component)
        assert (variables["SHOP_DIALECT"], variables["KAFKA_TOPIC"], variables["KAFKA_GROUP_ID"]) == (dialect, topic, group)
        assert variables["SHOP_ROLES"] == "purchases", "the replaced system had no users or orders"
    assert (variables["MONGODB_DATABASE"], variables["MONGODB_COLLECTION"]) == (database, collection)


def test_scripts(rendering):
    """The scripts of `helm test`, by pod name."""
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["args"][0] for pod in rendering.all("Pod")}


@case(
    preset("scalable-shop"),
    sets(kafka__bootstrapServers="k:9092", kafka__sasl__password=SECRETS["kafka.sasl.password"]),
    sets(mongodb__hosts="m:27017", mongodb__password=SECRETS["mongodb.password"]),
)
def scalable_shop(r):
    assert_settings(r, "scalable-shop", "scalable-shop-purchases", "scalable-shop", "purchases", "scalable-shop")
    assert r.names("Deployment") == {"scalable-shop-cm-server", "scalable-shop-cm-api"}
    assert (replicas(r, "facing"), replicas(r, "management")) == (3, 3)
    assert (ports(r, "facing")["port"], ports(r, "facing")["nodePort"]) == (3001, 30031)
    assert (ports(r, "management")["port"], ports(r, "management")["nodePort"]) == (3000, 30030)
    rule = r.all("Ingress")[0]["spec"]["rules"][0]
    assert rule["host"] == "localhost" and [path["path"] for path in rule["http"]["paths"]] == ["/scalable-shop-cm-server"]
    assert r.variables("facing")["KAFKA_SASL_MECHANISM"] == "PLAIN" and r.variables("management")["MONGODB_USERNAME"] == "root"
    assert "from" not in r.of("NetworkPolicy", "management")["spec"]["ingress"][0], "the policy would block the node port"
    tests = test_scripts(r)
    assert "/getAllUserBuys/foo" in tests["scalable-shop-cm-server-test"] and "/buyList/foo" in tests["scalable-shop-cm-api-test"]


INTERNAL = sets(kafka__internal__enabled="true", mongodb__internal__enabled="true", kafka__bootstrapServers="", mongodb__uri="")


def assert_app_labels(rendering, *services):
    """What `kubectl wait -l app=…` and `kubectl logs -l app=…` of the documentation select, and nothing besides."""
    workloads = [*rendering.all("Deployment"), *rendering.all("StatefulSet")]
    apps = {workload["metadata"]["name"]: workload["spec"]["template"]["metadata"]["labels"].get("app") for workload in workloads}
    labelled = {name: app for name, app in apps.items() if app}
    assert labelled == {name: name for name in (*services, "kafka", "mongodb")}, apps


@case(preset("user-buy-list"), INTERNAL)
def labels_of_user_buy_list(r):
    assert_app_labels(r, "customer-facing", "customer-management")
    assert r.names("HorizontalPodAutoscaler") == {"customer-facing-hpa"}


@case(preset("purchase-tracking"), INTERNAL)
def labels_of_purchase_tracking(r):
    assert_app_labels(r, "customer-web-server", "customer-management-api")
    names = {hpa["metadata"]["name"]: hpa["spec"]["scaleTargetRef"]["name"] for hpa in r.all("HorizontalPodAutoscaler")}
    assert names == {f"{name}-hpa": name for name in ("customer-web-server", "customer-management-api")}


@case(preset("user-buy-list"))
def user_buy_list(r):
    assert_settings(r, "user-buy-list", "purchases", "purchase-group", "purchases", "purchases")
    assert {"customer-facing", "customer-management", "user-buy-frontend", "kafka-exporter"} == r.names("Service")
    assert {"customer-facing-config", "customer-management-config"} <= r.names("ConfigMap")
    assert (ports(r, "facing")["port"], container(r, "facing")["ports"][0]["containerPort"]) == (80, 3000)
    assert r.one("Service", "user-buy-frontend")["spec"]["ports"][0]["port"] == 80
    hpa = r.of("HorizontalPodAutoscaler", "facing")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 8)
    assert {one["resource"]["name"]: one["resource"]["target"]["averageUtilization"] for one in hpa["metrics"]} == {
        "cpu": 60,
        "memory": 70,
    }
    keda = r.of("ScaledObject", "management")["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (2, 10)
    assert [trigger["type"] for trigger in keda["triggers"]] == ["kafka"] and keda["triggers"][0]["metadata"]["lagThreshold"] == "50"
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert (variables["TOPIC"], variables["PARTITIONS"], r.variables("management")["KAFKA_PARTITIONS"]) == ("purchases", "10", "10")
    assert r.variables("facing")["KAFKA_BOOTSTRAP_SERVERS"] == "kafka.ns.svc:9092"


@case(preset("purchase-tracking"))
def purchase_tracking(r):
    assert_settings(r, "purchase-tracking", "purchases", "purchase-consumer-group", "purchase_db", "purchases")
    assert r.names("Deployment") == {"customer-web-server", "customer-management-api"}
    assert (ports(r, "facing")["port"], ports(r, "facing")["nodePort"]) == (80, 30080)
    assert container(r, "facing")["ports"][0]["containerPort"] == 5000 and ports(r, "management")["port"] == 5001
    for component, limits in (("facing", (2, 10)), ("management", (1, 5))):
        hpa = r.of("HorizontalPodAutoscaler", component)["spec"]
        assert (hpa["minReplicas"], hpa["maxReplicas"]) == limits
        assert [one["pods"]["metric"]["name"] for one in hpa["metrics"]] == ["flask_http_request_per_second"]
    annotations = r.of("Deployment", "management")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true" and annotations["prometheus.io/port"] == "5001"
    for script in test_scripts(r).values():
        assert "/v1/purchases" in script and "/getAllUserBuys" not in script and "/purchases/foo" not in script, "the dialect responds with 404"


@case(preset("shopping-system"), SERVERS)
def shopping_system(r):
    assert_settings(r, "shopping-system", "purchases", "management-api-group", "shopping", "purchases")
    assert r.names("Service") == {"rel-shopping-system-web-server", "rel-shopping-system-management-api"}
    assert (ports(r, "facing")["port"], ports(r, "management")["port"]) == (8081, 8080)
    scaled = {one["metadata"]["name"].split("-system-")[1]: one["spec"] for one in r.all("ScaledObject")}
    assert (scaled["web-server"]["maxReplicaCount"], scaled["management-api"]["maxReplicaCount"]) == (3, 5)
    assert scaled["web-server"]["triggers"][0]["metadata"] == {"value": "80"}
    assert [trigger["metadata"].get("lagThreshold") for trigger in scaled["management-api"]["triggers"]] == ["10"]


@case(preset("shopping-system"), LOGINS)
def preset_with_credentials(r):
    assert r.of("TriggerAuthentication", "management")["spec"]["secretTargetRef"]
