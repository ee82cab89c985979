"""Rejected values, and the parts of the expected error."""

from rendering import SERVERS, sets

EMBEDDED = sets(mode="embedded")
SASL = sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__username="u", kafka__sasl__password="p")

REJECTIONS = {
    "a route without a Gateway": (SERVERS + sets(httpRoute__enabled="true"), ["httpRoute.enabled without httpRoute.parentRefs"]),
    "labels that select pods": (SERVERS + ["--set-json", 'commonLabels={"app.kubernetes.io/component":"x"}'], ["invalid propertyName 'app.kubernetes.io/component'"]),
    "labels of pods that select them": (SERVERS + ["--set-json", 'facing.podLabels={"app.kubernetes.io/instance":"x"}'], ["invalid propertyName 'app.kubernetes.io/instance'"]),
    "a patch of no object": (SERVERS + ["--set-json", 'patches={"Service/facings":{}}'], ["patches.Service/facings: the release has no such object", "Service/facing,"]),
    "a patch of the whole release": (SERVERS + ["--set-json", 'patches={"service":{}}'], ["invalid propertyName 'service'"]),
    "retention of a log on Kafka": (SERVERS + sets(settings__logRetention="14d"), ["settings.logRetention or logMaxSize with mode cluster"]),
    "retention without a unit": (SERVERS + sets(settings__purchaseRetention="730"), ["settings.purchaseRetention is 730: it must be a duration"]),
    "settings that are none of the services'": (
        SERVERS + sets(settings__replicas=3, settings__refunds="perhaps", settings__deadLetterLimit="many", settings__logMaxSize="5MB"),
        [
            "settings.replicas: there is no such setting", "settings.refunds is perhaps: it must be on or off",
            "settings.deadLetterLimit is many: it must be a whole number", "settings.logMaxSize is 5MB: it must be a size",
        ],
    ),
    "a secret among the settings": (SERVERS + sets(settings__kafkaPassword="p"), ["settings.kafkaPassword is a secret"]),
    "a setting that other values set": (SERVERS + sets(settings__purchasesTopic="t"), ["settings.purchasesTopic: other values of the chart set KAFKA_TOPIC"]),
    "backups of a cluster": (SERVERS + sets(backup__schedule="@daily", backup__existingClaim="c"), ["backup.schedule with mode cluster"]),
    "backups without a volume": (EMBEDDED + sets(backup__schedule="@daily"), ["backup.schedule without backup.existingClaim"]),
    "a schedule that is none": (SERVERS + sets(verify__schedule="daily"), ["/verify/schedule"]),
    "verification without purchases": (
        ["--set", "kafka.bootstrapServers=k:1,settings.roles={users},postgres.existingSecret=s,verify.schedule=@daily"], ["verify.schedule without purchases"]
    ),
    "no choice of authentication": (SERVERS + sets(auth__mode=""), ["auth.mode is not set", "off"]),
    "authentication by keys without keys": (
        SERVERS + sets(auth__mode="keys"), ["auth.keysSecret", "auth.serviceTokenSecret is not set"]
    ),
    "authentication by keys of an issuer": (
        SERVERS + sets(auth__mode="keys", auth__keysSecret="k", auth__serviceTokenSecret="t", auth__issuer="i"), ["auth.mode keys with auth.issuer"]
    ),
    "tokens without an audience": (
        SERVERS + sets(auth__mode="jwt", auth__serviceTokenSecret="t", auth__issuer="i", auth__jwksUrl="https://i/keys"), ["auth.audience"]
    ),
    "authentication off with keys": (SERVERS + sets(auth__keysSecret="k"), ["auth.mode off with other values"]),
    "Kafka missing": (sets(mongodb__uri="mongodb://m"), ["kafka.bootstrapServers", "kafka.internal.enabled"]),
    "MongoDB missing": (sets(kafka__bootstrapServers="k:9092"), ["mongodb.uri", "mongodb.internal.enabled"]),
    "Kafka and MongoDB missing: one error for both": ([], ["kafka.bootstrapServers", "mongodb.uri"]),
    "internal and external Kafka": (SERVERS + sets(kafka__internal__enabled="true"), ["kafka.internal.enabled with kafka.bootstrapServers"]),
    "PostgreSQL and MongoDB": (SERVERS + sets(postgres__existingSecret="s"), ["postgres.existingSecret with mongodb"]),
    "users without PostgreSQL": (
        SERVERS + ["--set", "settings.roles={purchases,users}"], ["settings.roles has users", "set postgres.existingSecret, or"]
    ),
    "separate orders without PostgreSQL": (
        SERVERS + ["--set", "settings.roles={purchases,orders},orders.enabled=true"],
        ["settings.roles has orders", "set postgres.existingSecret or orders.postgres.existingSecret"],
    ),
    "MongoDB without purchases": (
        SERVERS + ["--set", "settings.roles={users},postgres.existingSecret=s"], ["mongodb with settings.roles without purchases"]
    ),
    "PostgreSQL of users without a deployment": (SERVERS + sets(users__postgres__existingSecret="s"), ["users.postgres.existingSecret", "users.enabled"]),
    "internal and external MongoDB": (SERVERS + sets(mongodb__internal__enabled="true"), ["mongodb.internal.enabled with mongodb.uri"]),
    "MongoDB URI and hosts": (SERVERS + sets(mongodb__hosts="m:1"), ["mongodb.uri with mongodb.hosts"]),
    "MongoDB username without password": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__username="u"),
        ["mongodb.username", "mongodb.password", "mongodb.existingSecret"],
    ),
    "MongoDB password without username": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__password="p"),
        ["mongodb.password", "without mongodb.username"],
    ),
    "MongoDB password and existing Secret": (
        sets(
            kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__username="u", mongodb__password="p",
            mongodb__existingSecret="s",
        ),
        ["mongodb.password with mongodb.existingSecret"],
    ),
    "invalid MongoDB URI": (SERVERS + sets(mongodb__uri="http://m"), ["/mongodb/uri"]),
    "SASL without username": (
        SERVERS + sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__password="p"), ["kafka.sasl.username"]
    ),
    "SASL user twice": (
        SERVERS + SASL + sets(kafka__sasl__usernameKey="user"), ["kafka.sasl.usernameKey is a key of kafka.sasl.existingSecret"]
    ),
    "SASL without password": (
        SERVERS + sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__username="u"),
        ["kafka.sasl.password", "kafka.sasl.existingSecret"],
    ),
    "SASL without mechanism": (SERVERS + sets(kafka__sasl__username="u"), ["no kafka.sasl.mechanism"]),
    "SASL password and existing Secret": (
        SERVERS + SASL + sets(kafka__sasl__existingSecret="s"), ["kafka.sasl.password with kafka.sasl.existingSecret"]
    ),
    "unknown SASL mechanism": (SERVERS + sets(kafka__sasl__mechanism="GSSAPI"), ["/kafka/sasl/mechanism"]),
    "CA certificates without TLS": (SERVERS + sets(kafka__tls__caSecret="s"), ["kafka.tls.caSecret without"]),
    "client certificate without TLS": (SERVERS + sets(kafka__tls__certSecret="s"), ["kafka.tls.certSecret without"]),
    "tokens without a client": (
        SERVERS + sets(kafka__oauth__tokenUrl="https://i/token"), ["kafka.oauth.clientId", "kafka.oauth.existingSecret"]
    ),
    "tokens and SASL": (
        SERVERS + SASL + sets(kafka__oauth__tokenUrl="https://i/t", kafka__oauth__clientId="c", kafka__oauth__existingSecret="s"),
        ["kafka.oauth.tokenUrl with kafka.sasl.mechanism"],
    ),
    "tokens and topic job": (
        SERVERS
        + sets(kafka__oauth__tokenUrl="https://i/t", kafka__oauth__clientId="c", kafka__oauth__existingSecret="s", topicJob__enabled="true"),
        ["kafka.oauth with topicJob"],
    ),
    "client of tokens without endpoint": (SERVERS + sets(kafka__oauth__clientId="c"), ["no kafka.oauth.tokenUrl"]),
    "client CA without certificate": (
        SERVERS + sets(tls__clientCaSecret="s"), ["tls.clientCaSecret without tls.secret", "tls.clientSecret"]
    ),
    "CA of plain HTTP": (SERVERS + sets(tls__caSecret="s"), ["tls.caSecret or tls.clientSecret without tls.secret"]),
    "CA of MongoDB with hosts": (
        sets(kafka__bootstrapServers="k:9092", mongodb__hosts="m:27017", mongodb__caSecret="s"), ["mongodb.caSecret with mongodb.hosts"]
    ),
    "SASL with internal Kafka": (
        sets(kafka__internal__enabled="true", mongodb__uri="mongodb://m") + SASL, ["kafka.internal.enabled with kafka.sasl"]
    ),
    "replication with internal Kafka": (
        sets(kafka__internal__enabled="true", mongodb__uri="mongodb://m", kafka__replicationFactor=3),
        ["kafka.internal.enabled with kafka.replicationFactor", "one replica"],
    ),
    "negative replication factor": (SERVERS + sets(kafka__replicationFactor=-1), ["/kafka/replicationFactor"]),
    "embedded, two replicas": (EMBEDDED + sets(facing__replicas=2), ["embedded", "facing.replicas"]),
    "embedded, facing autoscaled": (EMBEDDED + sets(facing__autoscaling__type="hpa"), ["embedded", "facing.autoscaling.type"]),
    "embedded, management autoscaled": (
        EMBEDDED + sets(management__autoscaling__type="keda"), ["embedded", "management.autoscaling.type"]
    ),
    "embedded with Kafka": (EMBEDDED + sets(kafka__bootstrapServers="k:1"), ["embedded", "kafka.bootstrapServers"]),
    "embedded with MongoDB": (EMBEDDED + sets(mongodb__uri="mongodb://m"), ["embedded", "mongodb"]),
    "embedded, ingress to management": (
        EMBEDDED
        + sets(ingress__enabled="true")
        + ["--set-json", 'ingress.paths=[{"path":"/purchases","type":"Prefix","service":"management"}]'],
        ["embedded", "/purchases", "management"],
    ),
    "embedded, separate users": (EMBEDDED + sets(users__enabled="true"), ["embedded", "users.enabled"]),
    "embedded, without purchases": (
        EMBEDDED + ["--set-json", 'settings.roles=["users"]'], ["embedded", "settings.roles", "purchases"]
    ),
    "separate users without the role": (
        SERVERS + sets(users__enabled="true") + ["--set-json", 'settings.roles=["purchases","orders"]'],
        ["users.enabled", "settings.roles"],
    ),
    "KEDA without purchases": (
        SERVERS + sets(management__autoscaling__type="keda") + ["--set-json", 'settings.roles=["users","orders"]'],
        ["management.autoscaling.type is keda", "no purchases"],
    ),
    "ingress to facing without purchases": (
        SERVERS + sets(ingress__enabled="true") + ["--set-json", 'settings.roles=["users"]'],
        ["ingress path /buy to facing", "does not have this service"],
    ),
    "users with KEDA": (SERVERS + sets(users__enabled="true", users__autoscaling__type="keda"), ["/users/autoscaling/type"]),
    "no roles": (SERVERS + ["--set-json", "settings.roles=[]"], ["/settings/roles"]),
    "unknown role": (SERVERS + ["--set-json", 'settings.roles=["klingons"]'], ["/settings/roles/0"]),
    "lagThreshold of orders": (SERVERS + sets(orders__autoscaling__lagThreshold=5), ["/orders/autoscaling", "lagThreshold"]),
    "users: minReplicas above maxReplicas": (
        SERVERS + sets(users__enabled="true", users__autoscaling__type="hpa", users__autoscaling__minReplicas=9),
        ["users.autoscaling.minReplicas"],
    ),
    "orders: nodePort without NodePort": (SERVERS + sets(orders__service__nodePort=30080), ["orders.service.nodePort"]),
    "facing: minReplicas above maxReplicas": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__autoscaling__minReplicas=9), ["facing.autoscaling.minReplicas"]
    ),
    "HPA without a metric": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__autoscaling__cpuPercent=0), ["facing.autoscaling.type is hpa"]
    ),
    "KEDA for facing without CPU": (
        SERVERS + sets(facing__autoscaling__type="keda", facing__autoscaling__cpuPercent=0),
        ["facing.autoscaling.type is keda", "cpuPercent"],
    ),
    "KEDA with metrics of an HPA": (
        SERVERS + sets(facing__autoscaling__type="keda", facing__autoscaling__requestsPerSecond=100),
        ["facing.autoscaling.type is keda", "requestsPerSecond", "has one autoscaler"],
    ),
    "CPU target without CPU request": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__resources__requests__cpu="null"),
        ["facing.autoscaling.cpuPercent", "facing.resources.requests.cpu"],
    ),
    "memory target without memory request": (
        SERVERS
        + sets(facing__autoscaling__type="hpa", facing__autoscaling__memoryPercent=70)
        + sets(facing__resources__requests__memory="null"),
        ["facing.autoscaling.memoryPercent", "facing.resources.requests.memory"],
    ),
    "facing: nodePort without NodePort": (SERVERS + sets(facing__service__nodePort=30080), ["facing.service.nodePort", "ClusterIP"]),
    "ingress TLS without certificate": (
        SERVERS + sets(ingress__enabled="true", ingress__tls__enabled="true"), ["ingress.tls.secretName"]
    ),
    "unknown value": (SERVERS + sets(replicaCount=3), ["replicaCount", "not allowed"]),
    "unknown value of facing": (SERVERS + sets(facing__replicaCount=3), ["/facing", "replicaCount", "not allowed"]),
    "lagThreshold of facing": (SERVERS + sets(facing__autoscaling__lagThreshold=5), ["/facing/autoscaling", "lagThreshold"]),
    "cooldownSeconds: management is never scaled to 0": (
        SERVERS + sets(management__autoscaling__cooldownSeconds=60), ["/management/autoscaling", "cooldownSeconds"]
    ),
    "activationLagThreshold: management is never scaled to 0": (
        SERVERS + sets(management__autoscaling__activationLagThreshold=5), ["/management/autoscaling", "activationLagThreshold"]
    ),
    "KEDA: CPU target without CPU request": (
        SERVERS + sets(management__autoscaling__type="keda", management__resources__requests__cpu="null"),
        ["management.autoscaling.cpuPercent", "management.resources.requests.cpu"],
    ),
    "unknown nested value": (SERVERS + sets(kafka__internal__storage__sise="1Gi"), ["/kafka/internal/storage", "sise"]),
    "unknown mode": (SERVERS + sets(mode="kafka"), ["/mode"]),
    "unknown dialect": (SERVERS + sets(settings__dialect="klingon"), ["settings.dialect is klingon: it must be one of default,"]),
    "privileged port": (SERVERS + sets(facing__port=80), ["/facing/port"]),
    "a number in extraEnv": (SERVERS + ["--set-json", 'facing.extraEnv=[{"name":"LOG_LEVEL","value":1}]'], ["/facing/extraEnv/0/value", "string"]),
    "drainSeconds 0": (SERVERS + sets(settings__drainSeconds=0), ["/settings/drainSeconds"]),
    "image without a version": (SERVERS + sets(tests__image="busybox"), ["/tests/image"]),
    "maxUnavailable 0": (SERVERS + sets(facing__pdb__maxUnavailable=0), ["/facing/pdb/maxUnavailable"]),
}
