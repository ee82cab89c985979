"""Rejected values, and parts of the expected error."""

from rendering import SERVERS, sets

# Values are separated by spaces. Maps and lists are JSON.
WITH_SERVERS = [
    ("auth.mode=", "auth.mode is not set", "off"),
    ("auth.mode=keys", "auth.keysSecret", "auth.serviceTokenSecret is not set"),
    ("auth.mode=keys auth.keysSecret=k auth.serviceTokenSecret=t auth.issuer=i", "auth.mode keys with auth.issuer"),
    ("auth.mode=jwt auth.serviceTokenSecret=t auth.issuer=i auth.jwksUrl=https://i/keys", "auth.audience"),
    ("auth.keysSecret=k", "auth.mode off with other values"),
    ("backup.schedule=@daily backup.existingClaim=c", "backup.schedule with mode cluster"),
    ('commonLabels={"app.kubernetes.io/component":"x"}', "invalid propertyName 'app.kubernetes.io/component'"),
    ('facing.podLabels={"app.kubernetes.io/instance":"x"}', "invalid propertyName 'app.kubernetes.io/instance'"),
    ("facing.autoscaling.type=hpa facing.autoscaling.minReplicas=9", "facing.autoscaling.minReplicas"),
    ("facing.autoscaling.type=hpa facing.autoscaling.cpuPercent=0", "facing.autoscaling.type is hpa"),
    ("facing.autoscaling.type=keda facing.autoscaling.cpuPercent=0", "facing.autoscaling.type is keda", "cpuPercent"),
    (
        "facing.autoscaling.type=keda facing.autoscaling.requestsPerSecond=100",
        "facing.autoscaling.type is keda", "requestsPerSecond", "has one autoscaler",
    ),
    ("facing.autoscaling.type=hpa facing.resources.requests.cpu=null", "facing.autoscaling.cpuPercent", "facing.resources.requests.cpu"),
    (
        "facing.autoscaling.type=hpa facing.autoscaling.memoryPercent=70 facing.resources.requests.memory=null",
        "facing.autoscaling.memoryPercent", "facing.resources.requests.memory",
    ),
    ("facing.service.nodePort=30080", "facing.service.nodePort", "ClusterIP"),
    ("facing.replicaCount=3", "/facing", "replicaCount", "not allowed"),
    ("facing.autoscaling.lagThreshold=5", "/facing/autoscaling", "lagThreshold"),
    ("facing.port=80", "/facing/port"),
    ('facing.extraEnv=[{"name":"LOG_LEVEL","value":1}]', "/facing/extraEnv/0/value", "string"),
    ("facing.pdb.maxUnavailable=0", "/facing/pdb/maxUnavailable"),
    ("httpRoute.caConfigMap=ca", "httpRoute.caConfigMap without httpRoute.enabled and tls.secret"),
    ("httpRoute.enabled=true", "httpRoute.enabled without httpRoute.parentRefs"),
    ('ingress.enabled=true settings.roles=["users"]', "ingress path /buy to facing", "does not have this service"),
    ("ingress.enabled=true ingress.tls.enabled=true", "ingress.tls.secretName"),
    ("kafka.internal.enabled=true", "kafka.internal.enabled with kafka.bootstrapServers"),
    ("kafka.sasl.mechanism=PLAIN kafka.sasl.password=p", "kafka.sasl.username"),
    (
        "kafka.sasl.mechanism=PLAIN kafka.sasl.username=u kafka.sasl.password=p kafka.sasl.usernameKey=user",
        "kafka.sasl.usernameKey is a key of kafka.sasl.existingSecret",
    ),
    ("kafka.sasl.mechanism=PLAIN kafka.sasl.username=u", "kafka.sasl.password", "kafka.sasl.existingSecret"),
    ("kafka.sasl.username=u", "no kafka.sasl.mechanism"),
    (
        "kafka.sasl.mechanism=PLAIN kafka.sasl.username=u kafka.sasl.password=p kafka.sasl.existingSecret=s",
        "kafka.sasl.password with kafka.sasl.existingSecret",
    ),
    ("kafka.sasl.mechanism=GSSAPI", "/kafka/sasl/mechanism"),
    ("kafka.tls.caSecret=s", "kafka.tls.caSecret without"),
    ("kafka.tls.certSecret=s", "kafka.tls.certSecret without"),
    ("kafka.oauth.tokenUrl=https://i/token", "kafka.oauth.clientId", "kafka.oauth.existingSecret"),
    (
        "kafka.sasl.mechanism=PLAIN kafka.sasl.username=u kafka.sasl.password=p kafka.oauth.tokenUrl=https://i/t kafka.oauth.clientId=c kafka.oauth.existingSecret=s",
        "kafka.oauth.tokenUrl with kafka.sasl.mechanism",
    ),
    ("kafka.oauth.tokenUrl=https://i/t kafka.oauth.clientId=c kafka.oauth.existingSecret=s topicJob.enabled=true", "kafka.oauth with topicJob"),
    ("kafka.oauth.clientId=c", "no kafka.oauth.tokenUrl"),
    ("kafka.replicationFactor=-1", "/kafka/replicationFactor"),
    ("kafka.internal.storage.capacity=1Gi", "/kafka/internal/storage", "capacity"),
    ('management.autoscaling.type=keda settings.roles=["users","orders"]', "management.autoscaling.type is keda", "no purchases"),
    ("management.autoscaling.cooldownSeconds=60", "/management/autoscaling", "cooldownSeconds"),
    ("management.autoscaling.activationLagThreshold=5", "/management/autoscaling", "activationLagThreshold"),
    (
        "management.autoscaling.type=keda management.resources.requests.cpu=null",
        "management.autoscaling.cpuPercent", "management.resources.requests.cpu",
    ),
    ("mode=kafka", "/mode"),
    ("mongodb.internal.enabled=true", "mongodb.internal.enabled with mongodb.uri"),
    ("mongodb.hosts=m:1", "mongodb.uri with mongodb.hosts"),
    ("mongodb.uri=http://m", "/mongodb/uri"),
    ("orders.autoscaling.lagThreshold=5", "/orders/autoscaling", "lagThreshold"),
    ("orders.service.nodePort=30080", "orders.service.nodePort"),
    ('patches={"Service/facings":{}}', "patches.Service/facings: the release has no such object", "Service/facing,"),
    ('patches={"service":{}}', "invalid propertyName 'service'"),
    ("postgres.existingSecret=s", "postgres.existingSecret with mongodb"),
    ("replicaCount=3", "replicaCount", "not allowed"),
    ("settings.logRetention=14d", "settings.logRetention or logMaxSize with mode cluster"),
    ("settings.purchaseRetention=730", "settings.purchaseRetention is 730: it must be a duration"),
    (
        "settings.replicas=3 settings.refunds=perhaps settings.deadLetterLimit=many settings.logMaxSize=5MB",
        "settings.replicas: there is no such setting", "settings.refunds is perhaps: it must be on or off",
        "settings.deadLetterLimit is many: it must be a whole number", "settings.logMaxSize is 5MB: it must be a size",
    ),
    ("settings.kafkaPassword=p", "settings.kafkaPassword is a secret"),
    ("settings.purchasesTopic=t", "settings.purchasesTopic: other values of the chart set KAFKA_TOPIC"),
    ('settings.roles=["purchases","users"]', "settings.roles has users", "set postgres.existingSecret, or"),
    (
        'settings.roles=["purchases","orders"] orders.enabled=true',
        "settings.roles has orders", "set postgres.existingSecret or orders.postgres.existingSecret",
    ),
    ('settings.roles=["users"] postgres.existingSecret=s', "mongodb with settings.roles without purchases"),
    ("settings.roles=[]", "/settings/roles"),
    ('settings.roles=["klingons"]', "/settings/roles/0"),
    ("settings.dialect=klingon", "settings.dialect is klingon: it must be one of default,"),
    ("settings.drainSeconds=0", "/settings/drainSeconds"),
    ("tests.image=busybox", "/tests/image"),
    ("tls.clientCaSecret=s", "tls.clientCaSecret without tls.secret", "tls.clientSecret"),
    ("tls.caSecret=s", "tls.caSecret or tls.clientSecret without tls.secret"),
    ("users.postgres.existingSecret=s", "users.postgres.existingSecret", "users.enabled"),
    ('users.enabled=true settings.roles=["purchases","orders"]', "users.enabled", "settings.roles"),
    ("users.enabled=true users.autoscaling.type=keda", "/users/autoscaling/type"),
    ("users.enabled=true users.autoscaling.type=hpa users.autoscaling.minReplicas=9", "users.autoscaling.minReplicas"),
    ("verify.schedule=daily", "/verify/schedule"),
]
EMBEDDED = [
    ("backup.schedule=@daily", "backup.schedule without backup.existingClaim"),
    ("facing.replicas=2", "embedded", "facing.replicas"),
    ("facing.autoscaling.type=hpa", "embedded", "facing.autoscaling.type"),
    ('ingress.enabled=true ingress.paths=[{"path":"/purchases","type":"Prefix","service":"management"}]', "embedded", "/purchases", "management"),
    ("kafka.bootstrapServers=k:1", "embedded", "kafka.bootstrapServers"),
    ("management.autoscaling.type=keda", "embedded", "management.autoscaling.type"),
    ("mongodb.uri=mongodb://m", "embedded", "mongodb"),
    ('settings.roles=["users"]', "embedded", "settings.roles", "purchases"),
    ("users.enabled=true", "embedded", "users.enabled"),
]
WITHOUT_SERVERS = [
    ("", "kafka.bootstrapServers", "mongodb.uri"),
    ('kafka.bootstrapServers=k:1 settings.roles=["users"] postgres.existingSecret=s verify.schedule=@daily', "verify.schedule without purchases"),
    ("kafka.bootstrapServers=k:9092", "mongodb.uri", "mongodb.internal.enabled"),
    ("kafka.bootstrapServers=k:1 mongodb.hosts=m:1 mongodb.username=u", "mongodb.username", "mongodb.password", "mongodb.existingSecret"),
    ("kafka.bootstrapServers=k:1 mongodb.hosts=m:1 mongodb.password=p", "mongodb.password", "without mongodb.username"),
    (
        "kafka.bootstrapServers=k:1 mongodb.hosts=m:1 mongodb.username=u mongodb.password=p mongodb.existingSecret=s",
        "mongodb.password with mongodb.existingSecret",
    ),
    ("kafka.bootstrapServers=k:9092 mongodb.hosts=m:27017 mongodb.caSecret=s", "mongodb.caSecret with mongodb.hosts"),
    (
        "kafka.internal.enabled=true mongodb.uri=mongodb://m kafka.sasl.mechanism=PLAIN kafka.sasl.username=u kafka.sasl.password=p",
        "kafka.internal.enabled with kafka.sasl",
    ),
    (
        "kafka.internal.enabled=true mongodb.uri=mongodb://m kafka.replicationFactor=3",
        "kafka.internal.enabled with kafka.replicationFactor", "one replica",
    ),
    ("mongodb.uri=mongodb://m", "kafka.bootstrapServers", "kafka.internal.enabled"),
]


def arguments(values):
    result = []
    for value in values.split():
        is_json = value.partition("=")[2].startswith(("{", "["))
        result += ["--set-json" if is_json else "--set", value]
    return result


REJECTIONS = [
    (f"{name}, {values or 'no values'}", [*given, *arguments(values)], parts)
    for name, given, table in (("with servers", SERVERS, WITH_SERVERS), ("embedded", sets(mode="embedded"), EMBEDDED), ("without servers", [], WITHOUT_SERVERS))
    for values, *parts in table
]
