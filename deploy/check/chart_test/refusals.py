"""Values that are refused, and what the refusal has to name."""

from rendering import SERVERS, sets

EMBEDDED = sets(mode="embedded")
SASL = sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__username="u", kafka__sasl__password="p")

REFUSALS = {
    "no Kafka": (sets(mongodb__uri="mongodb://m"), ["kafka.bootstrapServers", "kafka.internal.enabled"]),
    "no MongoDB": (sets(kafka__bootstrapServers="k:9092"), ["mongodb.uri", "mongodb.internal.enabled"]),
    "neither, at once": ([], ["kafka.bootstrapServers", "mongodb.uri"]),
    "two Kafkas": (SERVERS + sets(kafka__internal__enabled="true"), ["kafka.internal.enabled with kafka.bootstrapServers"]),
    "two MongoDBs": (SERVERS + sets(mongodb__internal__enabled="true"), ["mongodb.internal.enabled with mongodb.uri"]),
    "two addresses of MongoDB": (SERVERS + sets(mongodb__hosts="m:1"), ["mongodb.uri with mongodb.hosts"]),
    "a user without a password": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__username="u"),
        ["mongodb.username", "mongodb.password", "mongodb.existingSecret"],
    ),
    "a password without a user": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__password="p"),
        ["mongodb.password", "without mongodb.username"],
    ),
    "two passwords of MongoDB": (
        sets(
            kafka__bootstrapServers="k:1", mongodb__hosts="m:1", mongodb__username="u", mongodb__password="p",
            mongodb__existingSecret="s",
        ),
        ["mongodb.password with mongodb.existingSecret"],
    ),
    "a login of users whom management keeps": (
        SERVERS + sets(users__mongodb__uri="mongodb://u:p@m/"), ["users.mongodb has a login", "users.enabled"]
    ),
    "a URI of orders beside hosts": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", orders__enabled="true", orders__mongodb__uri="mongodb://o:p@m/"),
        ["orders.mongodb.uri with mongodb.hosts", "orders.mongodb.username"],
    ),
    "a password of users beside a URI": (
        SERVERS + sets(users__enabled="true", users__mongodb__username="u", users__mongodb__password="p"),
        ["users.mongodb.username", "mongodb.hosts", "users.mongodb.uri"],
    ),
    "users without a password": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", users__enabled="true", users__mongodb__username="u"),
        ["users.mongodb.username", "users.mongodb.password", "users.mongodb.existingSecret"],
    ),
    "a password of orders without a user": (
        sets(kafka__bootstrapServers="k:1", mongodb__hosts="m:1", orders__enabled="true", orders__mongodb__existingSecret="s"),
        ["orders.mongodb.password or existingSecret without orders.mongodb.username"],
    ),
    "two URIs of users": (
        SERVERS + sets(users__enabled="true", users__mongodb__uri="mongodb://u:p@m/", users__mongodb__existingSecret="s"),
        ["users.mongodb.existingSecret with users.mongodb.uri"],
    ),
    "a login of users elsewhere": (SERVERS + sets(users__enabled="true", users__mongodb__hosts="m:1"), ["/users/mongodb", "hosts", "not allowed"]),
    "no MongoDB's address": (SERVERS + sets(mongodb__uri="http://m"), ["/mongodb/uri"]),
    "a login without a user": (
        SERVERS + sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__password="p"), ["kafka.sasl.username"]
    ),
    "a login without a password": (
        SERVERS + sets(kafka__sasl__mechanism="PLAIN", kafka__sasl__username="u"),
        ["kafka.sasl.password", "kafka.sasl.existingSecret"],
    ),
    "a login without a mechanism": (SERVERS + sets(kafka__sasl__username="u"), ["no kafka.sasl.mechanism"]),
    "two passwords": (
        SERVERS + SASL + sets(kafka__sasl__existingSecret="s"), ["kafka.sasl.password with kafka.sasl.existingSecret"]
    ),
    "another mechanism": (SERVERS + sets(kafka__sasl__mechanism="GSSAPI"), ["/kafka/sasl/mechanism"]),
    "certificates without TLS": (SERVERS + sets(kafka__tls__caSecret="s"), ["kafka.tls.caSecret without"]),
    "a login at the broker for trials": (
        sets(kafka__internal__enabled="true", mongodb__uri="mongodb://m") + SASL, ["kafka.internal.enabled with kafka.sasl"]
    ),
    "copies at the broker for trials": (
        sets(kafka__internal__enabled="true", mongodb__uri="mongodb://m", kafka__replicationFactor=3),
        ["kafka.internal.enabled with kafka.replicationFactor", "one copy"],
    ),
    "fewer copies than none": (SERVERS + sets(kafka__replicationFactor=-1), ["/kafka/replicationFactor"]),
    "embedded, twice": (EMBEDDED + sets(facing__replicas=2), ["embedded", "facing.replicas"]),
    "embedded and scaled": (EMBEDDED + sets(facing__autoscaling__type="hpa"), ["embedded", "facing.autoscaling.type"]),
    "embedded, management scaled": (
        EMBEDDED + sets(management__autoscaling__type="keda"), ["embedded", "management.autoscaling.type"]
    ),
    "embedded on Kafka": (EMBEDDED + sets(kafka__bootstrapServers="k:1"), ["embedded", "kafka.bootstrapServers"]),
    "embedded in MongoDB": (EMBEDDED + sets(mongodb__uri="mongodb://m"), ["embedded", "mongodb"]),
    "embedded, published management": (
        EMBEDDED
        + sets(ingress__enabled="true")
        + ["--set-json", 'ingress.paths=[{"path":"/purchases","type":"Prefix","service":"management"}]'],
        ["embedded", "/purchases", "management"],
    ),
    "embedded, users apart": (EMBEDDED + sets(users__enabled="true"), ["embedded", "users.enabled"]),
    "embedded, without purchases": (
        EMBEDDED + ["--set-json", 'settings.roles=["users"]'], ["embedded", "settings.roles", "purchases"]
    ),
    "users apart that are no role": (
        SERVERS + sets(users__enabled="true") + ["--set-json", 'settings.roles=["purchases","orders"]'],
        ["users.enabled", "settings.roles"],
    ),
    "KEDA without purchases": (
        SERVERS + sets(management__autoscaling__type="keda") + ["--set-json", 'settings.roles=["users","orders"]'],
        ["management.autoscaling.type is keda", "no purchases"],
    ),
    "an ingress to a facing that there is not": (
        SERVERS + sets(ingress__enabled="true") + ["--set-json", 'settings.roles=["users"]'],
        ["ingress path /buy to facing, which there is none of"],
    ),
    "users by KEDA": (SERVERS + sets(users__enabled="true", users__autoscaling__type="keda"), ["/users/autoscaling/type"]),
    "no role": (SERVERS + ["--set-json", "settings.roles=[]"], ["/settings/roles"]),
    "another role": (SERVERS + ["--set-json", 'settings.roles=["klingons"]'], ["/settings/roles/0"]),
    "an hour for an order": (SERVERS + sets(settings__orderUserWaitMs=3600000), ["/settings/orderUserWaitMs"]),
    "one of KEDA for orders": (SERVERS + sets(orders__autoscaling__lagThreshold=5), ["/orders/autoscaling", "lagThreshold"]),
    "the least users above the most": (
        SERVERS + sets(users__enabled="true", users__autoscaling__type="hpa", users__autoscaling__minReplicas=9),
        ["users.autoscaling.minReplicas"],
    ),
    "a node port of no NodePort of orders": (SERVERS + sets(orders__service__nodePort=30080), ["orders.service.nodePort"]),
    "the least above the most": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__autoscaling__minReplicas=9), ["facing.autoscaling.minReplicas"]
    ),
    "nothing to scale by": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__autoscaling__cpuPercent=0), ["facing.autoscaling.type is hpa"]
    ),
    "KEDA without CPU": (
        SERVERS + sets(facing__autoscaling__type="keda", facing__autoscaling__cpuPercent=0),
        ["facing.autoscaling.type is keda", "cpuPercent"],
    ),
    "two autoscalers": (
        SERVERS + sets(facing__autoscaling__type="keda", facing__autoscaling__requestsPerSecond=100),
        ["facing.autoscaling.type is keda", "requestsPerSecond", "one autoscaler"],
    ),
    "a percentage of nothing": (
        SERVERS + sets(facing__autoscaling__type="hpa", facing__resources__requests__cpu="null"),
        ["facing.autoscaling.cpuPercent", "facing.resources.requests.cpu"],
    ),
    "a percentage of no memory": (
        SERVERS
        + sets(facing__autoscaling__type="hpa", facing__autoscaling__memoryPercent=70)
        + sets(facing__resources__requests__memory="null"),
        ["facing.autoscaling.memoryPercent", "facing.resources.requests.memory"],
    ),
    "a node port of no NodePort": (SERVERS + sets(facing__service__nodePort=30080), ["facing.service.nodePort", "ClusterIP"]),
    "TLS without a certificate": (
        SERVERS + sets(ingress__enabled="true", ingress__tls__enabled="true"), ["ingress.tls.secretName"]
    ),
    "a value that there is not": (SERVERS + sets(replicaCount=3), ["replicaCount", "not allowed"]),
    "one of facing's": (SERVERS + sets(facing__replicaCount=3), ["/facing", "replicaCount", "not allowed"]),
    "one of KEDA for facing": (SERVERS + sets(facing__autoscaling__lagThreshold=5), ["/facing/autoscaling", "lagThreshold"]),
    "a time before management goes to 0, where it never is": (
        SERVERS + sets(management__autoscaling__cooldownSeconds=60), ["/management/autoscaling", "cooldownSeconds"]
    ),
    "a lag at which management comes back from there": (
        SERVERS + sets(management__autoscaling__activationLagThreshold=5), ["/management/autoscaling", "activationLagThreshold"]
    ),
    "a percentage of nothing by KEDA": (
        SERVERS + sets(management__autoscaling__type="keda", management__resources__requests__cpu="null"),
        ["management.autoscaling.cpuPercent", "management.resources.requests.cpu"],
    ),
    "one deep below": (SERVERS + sets(kafka__internal__storage__sise="1Gi"), ["/kafka/internal/storage", "sise"]),
    "another mode": (SERVERS + sets(mode="kafka"), ["/mode"]),
    "another dialect": (SERVERS + sets(settings__dialect="klingon"), ["/settings/dialect"]),
    "a privileged port": (SERVERS + sets(facing__port=80), ["/facing/port"]),
    "no time for a shutdown": (SERVERS + sets(settings__drainSeconds=0), ["/settings/drainSeconds"]),
    "an image of any version": (SERVERS + sets(tests__image="busybox"), ["/tests/image"]),
    "a disruption budget of nothing": (SERVERS + sets(facing__pdb__maxUnavailable=0), ["/facing/pdb/maxUnavailable"]),
}
