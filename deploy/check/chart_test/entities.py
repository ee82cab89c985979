"""Users and orders: deployments, databases, settings and network policies."""

from cases import INTERNAL, LOGINS, SERVERS, case, container, named, ports, replicas
from rendering import SECRETS, component_of, preset, sets

SEPARATE = sets(users__enabled="true", orders__enabled="true")
PURCHASES_ONLY = ["--set-json", 'settings.roles=["purchases"]']
NO_PURCHASES = ["--set-json", 'settings.roles=["users","orders"]']


def peers(rendering, component):
    """The components that a policy admits; None if it admits any peer."""
    rule = rendering.of("NetworkPolicy", component)["spec"]["ingress"][0]
    known = [peer["podSelector"]["matchLabels"] for peer in rule.get("from", []) if "podSelector" in peer]
    return [labels["app.kubernetes.io/component"] for labels in known] if "from" in rule else None


@case(SERVERS, SEPARATE, sets(mongodb__database="shop", settings__orderUserWaitMs=500, kafka__partitions=1))
def separate_deployments(r):
    facing, management, users, orders = (r.variables(name) for name in ("facing", "management", "users", "orders"))
    assert (management["SHOP_ROLES"], users["SHOP_ROLES"], orders["SHOP_ROLES"]) == ("purchases", "users", "orders")
    assert facing["USERS_URL"] == "http://rel-shop-users:8001" and facing["ORDERS_URL"] == "http://rel-shop-orders:8002"
    assert (users["SHOP_USERS_DATABASE"], orders["SHOP_ORDERS_DATABASE"]) == ("shop_users", "shop_orders")
    for own, other in ((users, "MONGODB_DATABASE"), (users, "KAFKA_TOPIC"), (users, "SHOP_ORDERS_DATABASE"), (orders, "SHOP_USERS_DATABASE")):
        assert other not in own, f"{other} belongs to another role"
    for own in (users, orders):
        assert [own["SHOP_USERS_TOPIC"], own["SHOP_ORDERS_TOPIC"]] == named("user_created", "order_created"), "each publishes one topic and consumes the other"
    assert [users["SHOP_USERS_GROUP_ID"], orders["SHOP_ORDERS_GROUP_ID"]] == named("user_service_group", "order_service_group")
    assert orders["ORDER_USER_WAIT_MS"] == "500" and not [own for own in (facing, management, users) if "ORDER_USER_WAIT_MS" in own]
    assert "SHOP_USERS_DATABASE" not in management and "SHOP_USERS_TOPIC" not in management
    assert (replicas(r, "users"), replicas(r, "management")) == (2, 2), "each deployment has the default number of replicas"
    assert len(r.all("PodDisruptionBudget")) == len(r.all("NetworkPolicy")) == 4
    assert peers(r, "users") == ["facing", "test"] and peers(r, "facing") is None
    to = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in r.of("NetworkPolicy", "facing")["spec"]["egress"][1]["to"]]
    assert to == ["management", "users", "orders"], to
    egress = {port["port"] for rule in r.of("NetworkPolicy", "orders")["spec"]["egress"] for port in rule["ports"]}
    assert 27018 in egress and 9092 in egress
    tests = {pod["metadata"]["name"]: pod["spec"]["containers"][0]["args"][0] for pod in r.all("Pod")}
    assert "/-/ready" in tests["rel-shop-users-test"] and "/v1/purchases" not in tests["rel-shop-orders-test"]


@case(SERVERS, sets(users__enabled="true", users__database="people", users__service__type="LoadBalancer"))
def separate_users_only(r):
    assert (r.variables("management")["SHOP_ROLES"], r.variables("users")["SHOP_USERS_DATABASE"]) == ("purchases,orders", "people")
    assert "ORDERS_URL" not in r.variables("facing") and "orders" not in {component_of(one) for one in r.all("Deployment")}
    assert peers(r, "users") is None, "the policy would block the load balancer"


@case(LOGINS, SEPARATE, sets(kafkaExporter__enabled="true", topicJob__enabled="true"))
def roles_with_shared_credentials(r):
    users, facing = r.variables("users"), r.variables("facing")
    assert users["KAFKA_PASSWORD_FILE"] and users["MONGODB_PASSWORD_FILE"] and "MONGODB_PASSWORD_FILE" not in facing
    assert "checksum/secrets" in r.of("Deployment", "orders")["spec"]["template"]["metadata"]["annotations"]


@case(INTERNAL, SEPARATE)
def roles_on_internal_servers(r):
    assert peers(r, "mongodb") == ["management", "users", "orders"]
    assert {"facing", "management", "users", "orders"} <= set(peers(r, "kafka"))


@case(SERVERS, PURCHASES_ONLY, sets(kafkaExporter__enabled="true", topicJob__enabled="true"))
def purchases_only(r):
    management = r.variables("management")
    assert management["SHOP_ROLES"] == r.variables("facing")["SHOP_ROLES"] == "purchases"
    assert not [name for name in management if name.startswith(("SHOP_USERS", "SHOP_ORDERS", "ORDER"))]
    assert "--topic.filter=^ns\\.rel-shop\\.purchases([.]dlq)?$" in container(r, "kafka-exporter")["args"]
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert ([variables["TOPIC"]], variables["EVENT_TOPICS"]) == (named("purchases"), "")


@case(SERVERS, NO_PURCHASES)
def users_and_orders_in_management(r):
    assert r.names("Deployment") == {"rel-shop-management"} and r.variables("management")["SHOP_ROLES"] == "users,orders"
    assert peers(r, "management") is None, "without facing, clients connect to management"
    assert "KAFKA_TOPIC" not in r.variables("management")


@case(SERVERS, SEPARATE, NO_PURCHASES, ["--set-json", 'networkPolicy.facingFrom=[{"podSelector":{"matchLabels":{"app.kubernetes.io/component":"gateway"}}}]'])
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


@case(preset("ecommerce"), SERVERS)
def ecommerce_preset(r):
    assert r.names("Deployment") == r.names("Service") == {"ecommerce-user-service", "ecommerce-order-service"}
    users, orders = r.variables("users"), r.variables("orders")
    assert (ports(r, "users")["port"], ports(r, "orders")["port"]) == (8001, 8002)
    assert (users["SHOP_USERS_DATABASE"], orders["SHOP_ORDERS_DATABASE"]) == ("users_db", "orders_db")
    assert (users["SHOP_USERS_TOPIC"], users["SHOP_ORDERS_TOPIC"]) == ("user_created", "order_created")
    assert (users["SHOP_USERS_GROUP_ID"], orders["SHOP_ORDERS_GROUP_ID"]) == ("user_service_group", "order_service_group")
    assert users["SHOP_DIALECT"] == "ecommerce" and int(orders["ORDER_USER_WAIT_MS"]) > 0
    variables = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert (variables["TOPIC"], variables["EVENT_TOPICS"]) == ("", "user_created order_created")


@case(preset("ecommerce"), sets(kafka__internal__enabled="true", mongodb__internal__enabled="true", kafkaExporter__enabled="true"))
def ecommerce_with_internal_servers(r):
    assert 'roles: ["users_db","orders_db"].map(' in r.of("ConfigMap", "mongodb")["data"]["users.js"]
    assert "--topic.filter=^(user_created|order_created)([.]dlq)?$" in container(r, "kafka-exporter")["args"]


def secrets_of(rendering, component, kind="Deployment"):
    """The secret files of a pod, with the name and key of their Secret."""
    volumes = rendering.of(kind, component)["spec"]["template"]["spec"].get("volumes", [])
    sources = [source["secret"] for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
    return {item["path"]: (secret["name"], item["key"]) for secret in sources for item in secret["items"]}


OWN_PASSWORDS = sets(
    users__mongodb__username="shop-users", users__mongodb__password=SECRETS["users.mongodb.password"],
    orders__mongodb__username="shop-orders", orders__mongodb__existingSecret="theirs", orders__mongodb__passwordKey="word",
)  # fmt: skip


@case(LOGINS, SEPARATE, OWN_PASSWORDS)
def separate_credentials_for_each_role(r):
    assert [r.variables(one)["MONGODB_USERNAME"] for one in ("management", "users", "orders")] == ["shop", "shop-users", "shop-orders"]
    assert secrets_of(r, "management")["mongodb-password"] == ("rel-shop-mongodb-login", "password")
    assert secrets_of(r, "users")["mongodb-password"] == ("rel-shop-users-mongodb-login", "password")
    assert secrets_of(r, "orders")["mongodb-password"] == ("theirs", "word")
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in r.all("Secret") if "mongodb" in secret["metadata"]["name"]}
    assert secrets == {
        "rel-shop-mongodb-login": {"password": SECRETS["mongodb.password"]},
        "rel-shop-users-mongodb-login": {"password": SECRETS["users.mongodb.password"]},
    }, "each login has its own Secret"


@case(
    SERVERS, SEPARATE,
    sets(users__mongodb__uri="mongodb://shop-users:pass@mongo:27019/", orders__mongodb__existingSecret="theirs", orders__mongodb__uriKey="address"),
)  # fmt: skip
def separate_uri_for_each_role(r):
    assert secrets_of(r, "management")["mongodb-uri"] == ("rel-shop-mongodb-login", "uri")
    assert secrets_of(r, "users")["mongodb-uri"] == ("rel-shop-users-mongodb-login", "uri")
    assert secrets_of(r, "orders")["mongodb-uri"] == ("theirs", "address")
    assert r.one("Secret", "rel-shop-users-mongodb-login")["stringData"] == {"uri": "mongodb://shop-users:pass@mongo:27019/"}
    egress = {component: {port["port"] for rule in r.of("NetworkPolicy", component)["spec"]["egress"] for port in rule["ports"]} for component in ("users", "orders")}
    assert 27019 in egress["users"] and 27018 not in egress["users"] and 27017 in egress["orders"], egress


@case(
    preset("ecommerce"),
    sets(kafka__bootstrapServers="k:9092", users__postgres__existingSecret="users-db", orders__postgres__existingSecret="orders-db", orders__postgres__urlKey="address"),
)  # fmt: skip
def databases_of_the_replaced_system(r):
    assert secrets_of(r, "users") == {"postgres-url": ("users-db", "url")} and secrets_of(r, "orders") == {"postgres-url": ("orders-db", "address")}
    for role in ("users", "orders"):
        variables = r.variables(role)
        assert variables["POSTGRES_URL_FILE"] == "/etc/shop/secrets/postgres-url"
        assert variables["SHOP_ADOPT_TABLES"] == "on"
        assert not [name for name in variables if "MONGODB" in name or name.endswith("_DATABASE")], variables
        assert 5432 in {port["port"] for rule in r.of("NetworkPolicy", role)["spec"]["egress"] for port in rule["ports"]}


@case(sets(kafka__bootstrapServers="k:9092", postgres__existingSecret="shop-db", postgres__port=6432, postgres__maxConnections=12))
def postgres_for_all_roles(r):
    variables = r.variables("management")
    assert variables["POSTGRES_MAX_CONNECTIONS"] == "12" and "SHOP_ADOPT_TABLES" not in variables
    assert secrets_of(r, "management")["postgres-url"] == ("shop-db", "url")
    assert "POSTGRES_URL_FILE" not in r.variables("facing")
    egress = {port["port"] for rule in r.of("NetworkPolicy", "management")["spec"]["egress"] for port in rule["ports"]}
    assert 6432 in egress and 27017 not in egress, egress


@case(INTERNAL, SEPARATE, OWN_PASSWORDS, sets(mongodb__database="shopdb"))
def internal_mongodb_creates_the_users(r):
    script = r.of("ConfigMap", "mongodb")["data"]["users.js"]
    files = secrets_of(r, "mongodb", "StatefulSet")
    for user, databases, file in (("shop", '["shopdb"]', "mongodb-password"), ("shop-users", '["shopdb_users"]', "users-mongodb-password"), ("shop-orders", '["shopdb_orders"]', "orders-mongodb-password")):
        login = f'user: "{user}",\n  pwd: require("fs").readFileSync("/etc/shop/secrets/{file}", "utf8").trim(),\n  roles: {databases}.map'
        assert login in script, f"{login} is not in {script}"
        assert file in files
    assert files["orders-mongodb-password"] == ("theirs", "word")
