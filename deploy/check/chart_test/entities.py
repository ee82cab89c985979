"""Users and orders: deployments, databases, settings and network policies."""

from cases import INTERNAL, LOGINS, SERVERS, case, container, named, ports, replicas
from rendering import ENTITIES, component_of, default_of, preset, sets

SEPARATE = ENTITIES + sets(users__enabled="true", orders__enabled="true")
KAFKA = sets(kafka__bootstrapServers="k:9092")
NO_PURCHASES = ["--set-json", 'settings.roles=["users","orders"]']


def peers(rendering, component):
    """The components that a policy admits; None if it admits any peer."""
    rule = rendering.of("NetworkPolicy", component)["spec"]["ingress"][0]
    known = [peer["podSelector"]["matchLabels"] for peer in rule.get("from", []) if "podSelector" in peer]
    return [labels["app.kubernetes.io/component"] for labels in known] if "from" in rule else None


@case(SERVERS, SEPARATE, sets(mongodb__database="shop", settings__orderUserWait="500ms", kafka__partitions=1))
def separate_deployments(r):
    facing, management, users, orders = (r.variables(name) for name in ("facing", "management", "users", "orders"))
    assert (management["SHOP_ROLES"], users["SHOP_ROLES"], orders["SHOP_ROLES"]) == ("purchases", "users", "orders")
    assert facing["USERS_URL"] == "http://rel-shop-users:8001" and facing["ORDERS_URL"] == "http://rel-shop-orders:8002"
    assert "KAFKA_TOPIC" not in users, "it belongs to another role"
    for own in (users, orders):
        assert own["POSTGRES_URL_FILE"] and not [name for name in own if name.startswith("MONGODB")], own
        assert [own["SHOP_USERS_TOPIC"], own["SHOP_ORDERS_TOPIC"]] == named("user_created", "order_created"), "each publishes one topic and consumes the other"
    assert [users["SHOP_USERS_GROUP_ID"], orders["SHOP_ORDERS_GROUP_ID"]] == named("user_service_group", "order_service_group")
    assert orders["SHOP_ORDER_USER_WAIT"] == "500ms" and not [own for own in (facing, management, users) if "SHOP_ORDER_USER_WAIT" in own]
    assert "POSTGRES_URL_FILE" not in management and "SHOP_USERS_TOPIC" not in management
    assert (replicas(r, "users"), replicas(r, "management")) == (2, 2), "each deployment has the default number of replicas"
    assert len(r.all("PodDisruptionBudget")) == len(r.all("NetworkPolicy")) == 4
    assert peers(r, "users") == ["facing", "test"] and peers(r, "facing") is None
    to = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in r.of("NetworkPolicy", "facing")["spec"]["egress"][1]["to"]]
    assert to == ["management", "users", "orders"], to
    egress = {port["port"] for rule in r.of("NetworkPolicy", "orders")["spec"]["egress"] for port in rule["ports"]}
    assert 27018 not in egress and {5432, 9092} < egress
    tests = {pod["metadata"]["name"]: pod["spec"]["containers"][0]["args"][0] for pod in r.all("Pod")}
    assert "/-/ready" in tests["rel-shop-users-test"] and "/v1/purchases" not in tests["rel-shop-orders-test"]


@case(SERVERS, ENTITIES, sets(users__enabled="true", users__postgres__existingSecret="people", users__service__type="LoadBalancer"))
def separate_users_only(r):
    assert r.variables("management")["SHOP_ROLES"] == "purchases,orders"
    assert secrets_of(r, "users")["postgres-url"] == ("people", "url") and secrets_of(r, "management")["postgres-url"] == ("shop-db", "url")
    assert "ORDERS_URL" not in r.variables("facing") and "orders" not in {component_of(one) for one in r.all("Deployment")}
    assert peers(r, "users") is None, "the policy would block the load balancer"


@case(LOGINS, SEPARATE, sets(kafkaExporter__enabled="true", topicJob__enabled="true"))
def roles_with_shared_credentials(r):
    users, facing = r.variables("users"), r.variables("facing")
    assert users["KAFKA_PASSWORD_FILE"] and not {"MONGODB_PASSWORD_FILE", "POSTGRES_URL_FILE"} & set(facing)
    assert "checksum/secrets" in r.of("Deployment", "orders")["spec"]["template"]["metadata"]["annotations"]


@case(INTERNAL, SEPARATE)
def roles_on_internal_servers(r):
    assert peers(r, "mongodb") == ["management", "verify"]
    assert {"facing", "management", "users", "orders"} <= set(peers(r, "kafka"))


@case(SERVERS, sets(kafkaExporter__enabled="true", topicJob__enabled="true"))
def purchases_only(r):
    management = r.variables("management")
    assert management["SHOP_ROLES"] == r.variables("facing")["SHOP_ROLES"] == "purchases"
    assert not [name for name in management if name.startswith(("SHOP_USERS", "SHOP_ORDERS", "ORDER"))]
    assert "--topic.filter=^ns\\.rel-shop\\.purchases([.]dlq)?$" in container(r, "kafka-exporter")["args"]
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert ([variables["TOPIC"]], variables["EVENT_TOPICS"]) == (named("purchases"), "")


@case(KAFKA, ENTITIES, NO_PURCHASES)
def users_and_orders_in_management(r):
    assert r.names("Deployment") == {"rel-shop-management"} and r.variables("management")["SHOP_ROLES"] == "users,orders"
    assert peers(r, "management") is None, "without facing, clients connect to management"
    assert "KAFKA_TOPIC" not in r.variables("management")


@case(KAFKA, SEPARATE, NO_PURCHASES, ["--set-json", 'networkPolicy.facingFrom=[{"podSelector":{"matchLabels":{"app.kubernetes.io/component":"gateway"}}}]'])
def facing_peers_apply_to_roles_without_facing(r):
    assert peers(r, "users") == peers(r, "orders") == ["gateway", "test"]


@case(SERVERS, SEPARATE, sets(users__autoscaling__type="hpa", orders__autoscaling__type="hpa", users__autoscaling__maxReplicas=9))
def roles_with_hpa(r):
    assert replicas(r, "users") is None and r.of("HorizontalPodAutoscaler", "users")["spec"]["maxReplicas"] == 9
    assert r.of("HorizontalPodAutoscaler", "orders")["spec"]["scaleTargetRef"]["name"] == "rel-shop-orders"


@case(SERVERS, SEPARATE, sets(ingress__enabled="true"), ["--set-json", 'ingress.paths=[{"path":"/users","type":"Prefix","service":"users"}]'])
def ingress_to_a_role(r):
    assert r.all("Ingress")[0]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == "rel-shop-users"
    assert peers(r, "users") is None and peers(r, "orders") == ["facing", "test"]


@case(SERVERS, SEPARATE, sets(metrics__serviceMonitor__enabled="true", metrics__annotations="true"))
def metrics_of_the_roles(r):
    chosen = r.all("ServiceMonitor")[0]["spec"]["selector"]["matchExpressions"][0]["values"]
    assert {component_of(one) for one in r.all("Service")} == {"facing", "management", "users", "orders"} and {"users", "orders"} < set(chosen)
    annotations = r.of("Deployment", "orders")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "8002"


DATABASES = sets(users__postgres__existingSecret="users-db", orders__postgres__existingSecret="orders-db")


@case(preset("ecommerce"), KAFKA, DATABASES)
def ecommerce_preset(r):
    assert r.names("Deployment") == r.names("Service") == {"ecommerce-user-service", "ecommerce-order-service"}
    users, orders = r.variables("users"), r.variables("orders")
    assert (ports(r, "users")["port"], ports(r, "orders")["port"]) == (8001, 8002)
    assert (users["SHOP_USERS_TOPIC"], users["SHOP_ORDERS_TOPIC"]) == ("user_created", "order_created")
    assert (users["SHOP_USERS_GROUP_ID"], orders["SHOP_ORDERS_GROUP_ID"]) == ("user_service_group", "order_service_group")
    assert users["SHOP_DIALECT"] == "ecommerce" and orders["SHOP_ORDER_USER_WAIT"] == "2s"
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert (variables["TOPIC"], variables["EVENT_TOPICS"]) == ("", "user_created order_created")


@case(preset("ecommerce"), DATABASES, sets(kafka__internal__enabled="true", kafkaExporter__enabled="true"))
def ecommerce_with_internal_kafka(r):
    assert {component_of(one) for one in r.all("StatefulSet")} == {"kafka"}
    assert "--topic.filter=^(user_created|order_created)([.]dlq)?$" in container(r, "kafka-exporter")["args"]


def secrets_of(rendering, component, kind="Deployment"):
    """The secret files of a pod, with the name and key of their Secret."""
    volumes = rendering.of(kind, component)["spec"]["template"]["spec"].get("volumes", [])
    sources = [source["secret"] for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
    return {item["path"]: (secret["name"], item["key"]) for secret in sources for item in secret["items"]}


@case(preset("ecommerce"), KAFKA, DATABASES, sets(orders__postgres__urlKey="address"))
def databases_of_the_replaced_system(r):
    assert secrets_of(r, "users") == {"postgres-url": ("users-db", "url")} and secrets_of(r, "orders") == {"postgres-url": ("orders-db", "address")}
    for role in ("users", "orders"):
        variables = r.variables(role)
        assert variables["POSTGRES_URL_FILE"] == "/etc/shop/secrets/postgres-url"
        assert variables["SHOP_ADOPT_TABLES"] == "on"
        assert not [name for name in variables if "MONGODB" in name or name.endswith("_DATABASE")], variables
        assert 5432 in {port["port"] for rule in r.of("NetworkPolicy", role)["spec"]["egress"] for port in rule["ports"]}


@case(KAFKA, ENTITIES, sets(postgres__port=6432, postgres__maxConnections=12))
def postgres_for_all_roles(r):
    variables = r.variables("management")
    assert variables["POSTGRES_MAX_CONNECTIONS"] == "12" and "SHOP_ADOPT_TABLES" not in variables
    assert secrets_of(r, "management")["postgres-url"] == ("shop-db", "url")
    assert "POSTGRES_URL_FILE" not in r.variables("facing")
    egress = {port["port"] for rule in r.of("NetworkPolicy", "management")["spec"]["egress"] for port in rule["ports"]}
    assert 6432 in egress and 27017 not in egress, egress


@case(SERVERS, ENTITIES)
def purchases_in_mongodb_beside_users_and_orders_in_postgres(r):
    management = r.variables("management")
    assert management["MONGODB_URI_FILE"] and management["POSTGRES_URL_FILE"] and management["MONGODB_DATABASE"] == "purchases"
    assert set(secrets_of(r, "management")) == {"mongodb-uri", "postgres-url"}
    assert management["SHOP_ORDER_USER_WAIT"] == default_of("SHOP_ORDER_USER_WAIT"), "the default of the chart differs from that of the services"
    egress = {port["port"] for rule in r.of("NetworkPolicy", "management")["spec"]["egress"] for port in rule["ports"]}
    assert {5432, 27018} < egress, egress
