"""The script of the topic job, with a stand-in for Kafka's programs that writes down what they are asked for."""

import os
import pathlib
import subprocess
import tempfile

from rendering import CHART

# It says what Kafka 4 says of the topics that HAS names (topic=partitions,copies or topic=partitions,copies,min-in-sync), and from
# the fourth question on of those that THEN names, if that is set.
STAND_IN = r"""#!/bin/bash
echo "${0##*/kafka-} $*" >>"$ASKED"
cat "$4" >"$ASKED.settings"
[ ! -e "$ASKED.away" ] || { echo "java.lang.Exception: away" >&2; exit 1; }
[ -z "${THEN:-}" ] || [ "$(wc -l <"$ASKED")" -lt 4 ] || HAS=$THEN
for topic in $HAS; do
  name=${topic%%=*} && IFS=, read -r partitions copies in_sync <<<"${topic#*=}"
  case " $* " in
    *" --describe --if-exists "*)
      [[ $name =~ ^(${*: -1})$ ]] || continue
      printf 'Topic: %s\tTopicId: x\tPartitionCount: %s\tReplicationFactor: %s\tConfigs: a=b\n' "$name" "$partitions" "$copies"
      for ((i = 0; i < partitions; i++)); do
        printf '\tTopic: %s\tPartition: %s\tLeader: 1\tReplicas: %s\tIsr: 1\tElr: \tLastKnownElr: \n' "$name" "$i" "$(seq -s , "$copies")"
      done ;;
    *" --describe --all "*" --entity-name $name "*)
      printf 'All configs for topic %s are:\n  compression.type=producer sensitive=false synonyms={}\n  min.insync.replicas=%s sensitive=false synonyms={}\n' "$name" "${in_sync:-1}" ;;
  esac
done
"""


def run(*arguments, status=0, away=False, **variables):
    """What the script asks Kafka for, with which settings, and what it says."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for program in ("kafka-topics.sh", "kafka-configs.sh"):
            (place / program).write_text(STAND_IN)
            (place / program).chmod(0o755)
        (place / "password").write_text(r'a"b\c')
        if away:
            (place / "asked.away").touch()
        usual = {
            "KAFKA_BIN": folder, "ASKED": f"{folder}/asked", "PATH": os.environ["PATH"], "SERVERS": "k:9092", "PAUSE": "0",
            "TOPIC": "purchases", "PARTITIONS": "5", "REPLICATION": "0", "KAFKA_PASSWORD_FILE": f"{folder}/password",
            "HAS": "purchases=5,1 purchases.dlq=1,1 user_created=1,3,2 order_created=1,3,2 user_created.dlq=1,3,2 order_created.dlq=1,3,2",
        }  # fmt: skip
        command = ["bash", CHART / "files/topics.sh", *arguments]
        done = subprocess.run(command, env=usual | variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, f"{done.returncode}, not {status}: {done.stdout}{done.stderr}"
        return (place / "asked").read_text(), (place / "asked.settings").read_text(), done.stdout + done.stderr


def check():
    asked, settings, _ = run()
    assert "--create --if-not-exists --topic purchases --partitions 5" in asked and "--topic purchases.dlq --partitions 1" in asked
    assert "--alter" not in asked and "replication-factor" not in asked and settings == "security.protocol=PLAINTEXT\n"
    assert "retention" not in asked.replace("--topic purchases.dlq --partitions 1 --config retention.ms=-1", ""), "purchases are kept as long as the brokers say"
    assert "--alter --topic purchases --partitions 5" in run(HAS="purchases=1,1 purchases.dlq=1,1")[0], "a topic of one partition stays so"
    events, _, _ = run(TOPIC="", EVENT_TOPICS="user_created order_created", REPLICATION="3")
    for topic in ("user_created", "order_created"):
        assert f"--topic {topic} --replication-factor 3 --config min.insync.replicas=2 --partitions 5 --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete" in events
        assert f"--topic {topic}.dlq --replication-factor 3 --config min.insync.replicas=2 --partitions 1" in events and f"--alter --topic {topic} --partitions 5" in events
        kept = [line for line in events.splitlines() if line.startswith("configs.sh") and f"--alter --entity-type topics --entity-name {topic} " in line]
        assert len(kept) == 1 and kept[0].endswith("--add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete"), "one of a broker that forgets stays so"
    assert "purchases" not in events
    assert "--alter" not in run(HAS="purchases=12,1 purchases.dlq=1,1")[0], "partitions cannot be taken away"
    safe = "purchases=5,3,2 purchases.dlq=1,3,2"
    assert "--replication-factor 3 --config min.insync.replicas=2" in run(REPLICATION="3", HAS=safe)[0]
    for has, parts in (
        ("purchases=5,1,1 purchases.dlq=1,3,2", ["purchases has 1 copies of a partition, and 3 are wanted", "purchases acknowledges with 1 copies in sync"]),
        ("purchases=5,3,1 purchases.dlq=1,3,2", ["purchases acknowledges with 1 copies in sync, and 2 are wanted", "--entity-name purchases --add-config min.insync.replicas=2"]),
        ("purchases=5,3,2 purchases.dlq=1,1,2", ["purchases.dlq has 1 copies of a partition, and 3 are wanted"]),
        ("purchases=5,3,2 purchases.dlq=1,3", ["purchases.dlq acknowledges with 1 copies in sync"]),
        ("purchases=5,3,2", ["purchases.dlq is not there"]),
    ):
        said = run(REPLICATION="3", HAS=has, status=3)[2]
        assert all(part in said for part in parts) and said.count("wanted") >= len(parts) - ("--add-config" in parts[-1]), said
    assert "kafka-configs" not in run(REPLICATION="2", HAS="purchases=5,2 purchases.dlq=1,2")[0], "two copies acknowledge as the brokers say"
    run(REPLICATION="2", HAS="purchases=5,1 purchases.dlq=1,2", status=3)
    run(away=True, status=1)

    waited = {"TOPICS": "purchases purchases.dlq", "REPLICATION": "3"}
    asked, settings, said = run("wait", HAS=safe, **waited)
    assert asked.count("\n") == 1 and "--create" not in asked and "--alter" not in asked and not said, "it only looks"
    assert "default.api.timeout.ms" in settings
    asked, _, said = run("wait", away=True, **waited)
    assert asked.count("\n") == 4 and said.count("Kafka cannot be asked: java.lang.Exception: away") == 1 and "starts without" in said
    for has, part in (("", "purchases is not there"), ("purchases=5,1 purchases.dlq=1,3", "purchases has 1 copies of a partition, and 3 are wanted")):
        said = run("wait", HAS=has, THEN=safe, **waited)[2]
        assert said.count(part) == 1, said
    login = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_USERNAME": "shop", "KAFKA_TLS": "on", "KAFKA_CA_FILE": "/ca"}
    settings = run(**login)[1]
    # As a properties file is read, and then a login.
    read = dict(line.replace("\\\\", "\0").replace("\0", "\\").split("=", 1) for line in settings.splitlines())
    assert r'ScramLoginModule required username="shop" password="a\"b\\c";' in read["sasl.jaas.config"], settings
    assert (read["security.protocol"], read["ssl.truststore.location"]) == ("SASL_SSL", "/ca")
