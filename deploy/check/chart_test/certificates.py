"""TLS of the services, and certificates for Kafka and MongoDB."""

from cases import SERVERS, case, container
from passthrough import set_json
from rendering import sets

TLS = sets(tls__secret="shop-tls")
BOTH = TLS + sets(tls__clientCaSecret="clients", tls__caSecret="internal-ca", tls__clientSecret="facing-client")


def files(r, component):
    """Secret and key of each file below the folder of secrets."""
    volumes = r.of("Deployment", component)["spec"]["template"]["spec"]["volumes"]
    sources = next(volume for volume in volumes if volume["name"] == "secrets")["projected"]["sources"]
    return {item["path"]: (source["secret"]["name"], item["key"]) for source in sources for item in source["secret"]["items"]}


@case(SERVERS, TLS, sets(metrics__serviceMonitor__enabled="true", metrics__annotations="true"))
def services_serve_https(r):
    for component in ("facing", "management"):
        variables = r.variables(component)
        assert variables["SHOP_TLS_CERT_FILE"] == "/etc/shop/secrets/tls/tls.crt" and "SHOP_TLS_CLIENT_CA_FILE" not in variables
        assert files(r, component)["tls/tls.key"] == ("shop-tls", "tls.key")
        probe = container(r, component)["readinessProbe"]["httpGet"]
        assert probe == {"path": "/readyz", "port": "http", "scheme": "HTTPS"}, probe
        assert r.of("Service", component)["spec"]["ports"][0]["name"] == "https"
        assert r.of("Deployment", component)["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scheme"] == "https"
    assert r.variables("facing")["MANAGEMENT_URL"] == "https://rel-shop-management:3001"
    assert r.all("ServiceMonitor")[0]["spec"]["endpoints"][1]["scheme"] == "https"
    assert all("--insecure" in pod["spec"]["containers"][0]["args"][0] for pod in r.all("Pod"))


@case(SERVERS, BOTH)
def facing_calls_management_with_a_certificate(r):
    facing, management = r.variables("facing"), r.variables("management")
    assert "SHOP_TLS_CLIENT_CA_FILE" not in facing and management["SHOP_TLS_CLIENT_CA_FILE"] == "/etc/shop/secrets/tls/client-ca.crt"
    assert facing["SHOP_SERVICE_CA_FILE"] == "/etc/shop/secrets/tls/service-ca.crt" and "SHOP_SERVICE_CERT_FILE" not in management
    assert files(r, "facing")["tls/client.crt"] == ("facing-client", "tls.crt")
    assert files(r, "management")["tls/client-ca.crt"] == ("clients", "ca.crt")
    probes = {name: container(r, "management")[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes["readinessProbe"]["exec"]["command"] == ["/usr/local/bin/management", "--healthcheck"]
    assert probes["livenessProbe"]["tcpSocket"] == probes["startupProbe"]["tcpSocket"] == {"port": "http"}
    assert "httpGet" in container(r, "facing")["livenessProbe"]
    tests = [(pod["spec"]["containers"][0]["args"][0], pod["spec"]["volumes"][0]["projected"]["sources"]) for pod in r.all("Pod")]
    assert len(tests) == 2
    for script, sources in tests:
        assert "--cacert /etc/shop/secrets/ca.crt" in script and "--cert /etc/shop/secrets/tls.crt" in script
        assert {source["secret"]["name"] for source in sources} == {"internal-ca", "facing-client"}


@case(sets(mode="embedded"), TLS)
def embedded_mode_serves_https(r):
    assert r.variables("facing")["SHOP_TLS_KEY_FILE"] == "/etc/shop/secrets/tls/tls.key"


@case(
    SERVERS, sets(kafka__tls__enabled="true", kafka__tls__certSecret="kafka-client", kafka__tls__caSecret="kafka-ca"),
    sets(kafkaExporter__enabled="true", topicJob__enabled="true", management__autoscaling__type="keda"),
)  # fmt: skip
def kafka_clients_have_a_certificate(r):
    for component in ("facing", "management"):
        variables = r.variables(component)
        assert variables["KAFKA_CERT_FILE"] == "/etc/shop/secrets/kafka-client.crt"
        assert files(r, component)["kafka-client.key"] == ("kafka-client", "tls.key")
    assert files(r, "kafka-exporter") == {
        "kafka-ca.crt": ("kafka-ca", "ca.crt"), "kafka-client.crt": ("kafka-client", "tls.crt"), "kafka-client.key": ("kafka-client", "tls.key"),
    }  # fmt: skip
    assert "--tls.cert-file=/etc/shop/secrets/kafka-client.crt" in container(r, "kafka-exporter")["args"]
    targets = {target["parameter"]: target["name"] for target in r.all("TriggerAuthentication")[0]["spec"]["secretTargetRef"]}
    assert targets == {"ca": "kafka-ca", "cert": "kafka-client", "key": "kafka-client"}
    job = {variable["name"]: variable["value"] for variable in container(r, "topic-job", "Job")["env"]}
    assert job["KAFKA_KEY_FILE"] == "/etc/shop/secrets/kafka-client.key"


@case(
    SERVERS, sets(kafka__oauth__tokenUrl="https://issuer.example:8443/token", kafka__oauth__clientId="shop", kafka__oauth__scope="kafka"),
    sets(kafka__oauth__existingSecret="issuer"),
)  # fmt: skip
def kafka_clients_have_a_token(r):
    variables = r.variables("management")
    assert (variables["KAFKA_SASL_MECHANISM"], variables["KAFKA_OAUTH_SCOPE"]) == ("OAUTHBEARER", "kafka")
    assert variables["KAFKA_OAUTH_CLIENT_SECRET_FILE"] == "/etc/shop/secrets/kafka-oauth-secret"
    assert files(r, "facing")["kafka-oauth-secret"] == ("issuer", "client-secret")
    egress = {port["port"] for rule in r.of("NetworkPolicy", "facing")["spec"]["egress"] for port in rule["ports"]}
    assert 8443 in egress, egress


@case(SERVERS, sets(mongodb__caSecret="mongodb-ca"))
def ca_of_mongodb_is_mounted(r):
    assert files(r, "management")["mongodb-ca.crt"] == ("mongodb-ca", "ca.crt")


@case(SERVERS, sets(tls__secret="shop-tls", ingress__enabled="true", httpRoute__enabled="true", httpRoute__caConfigMap="ca"), set_json(httpRoute__parentRefs=[{"name": "public"}]))
def routes_to_https(r):
    assert {path["backend"]["service"]["port"]["name"] for path in r.all("Ingress")[0]["spec"]["rules"][0]["http"]["paths"]} == {"https"}
    assert r.of("Service", "facing")["spec"]["ports"][0]["appProtocol"] == "https"
    (policy,) = r.all("BackendTLSPolicy")
    assert policy["spec"]["targetRefs"][0]["name"] == policy["spec"]["validation"]["hostname"] == "rel-shop-facing"
    assert policy["spec"]["validation"]["caCertificateRefs"][0]["name"] == "ca"
