"""The script of the topic job, with fake Kafka programs that record their arguments."""

import os
import pathlib
import subprocess
import tempfile

from rendering import CHART

# Prints what Kafka 4 prints for the topics in HAS (topic=partitions,replicas[,min-in-sync]). From the fourth call on, uses
# the topics in THEN if it is set.
FAKE_PROGRAM = r"""#!/bin/bash
echo "${0##*/kafka-} $*" >>"$RECORDED"
cat "$4" >"$RECORDED.settings"
[ ! -e "$RECORDED.unavailable" ] || { echo "java.lang.Exception: unavailable" >&2; exit 1; }
[ -z "${THEN:-}" ] || [ "$(wc -l <"$RECORDED")" -lt 4 ] || HAS=$THEN
for topic in $HAS; do
  name=${topic%%=*} && IFS=, read -r partitions replicas in_sync <<<"${topic#*=}"
  case " $* " in
    *" --describe --if-exists "*)
      [[ $name =~ ^(${*: -1})$ ]] || continue
      printf 'Topic: %s\tTopicId: x\tPartitionCount: %s\tReplicationFactor: %s\tConfigs: a=b\n' "$name" "$partitions" "$replicas"
      for ((i = 0; i < partitions; i++)); do
        printf '\tTopic: %s\tPartition: %s\tLeader: 1\tReplicas: %s\tIsr: 1\tElr: \tLastKnownElr: \n' "$name" "$i" "$(seq -s , "$replicas")"
      done ;;
    *" --describe --all "*" --entity-name $name "*)
      printf 'All configs for topic %s are:\n  compression.type=producer sensitive=false synonyms={}\n  min.insync.replicas=%s sensitive=false synonyms={}\n' "$name" "${in_sync:-1}" ;;
  esac
done
"""


def run(*arguments, status=0, unavailable=False, **variables):
    """The recorded calls, the settings, and the output of the script."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for program in ("kafka-topics.sh", "kafka-configs.sh"):
            (place / program).write_text(FAKE_PROGRAM)
            (place / program).chmod(0o755)
        (place / "password").write_text(r'a"b\c')
        if unavailable:
            (place / "recorded.unavailable").touch()
        defaults = {
            "KAFKA_BIN": folder, "RECORDED": f"{folder}/recorded", "PATH": os.environ["PATH"], "SERVERS": "k:9092", "PAUSE": "0",
            "TOPIC": "purchases", "PARTITIONS": "5", "REPLICATION": "0", "KAFKA_PASSWORD_FILE": f"{folder}/password",
            "HAS": "purchases=5,1 purchases.dlq=1,1 user_created=1,3,2 order_created=1,3,2 user_created.dlq=1,3,2 order_created.dlq=1,3,2",
        }  # fmt: skip
        command = ["bash", CHART / "files/topics.sh", *arguments]
        done = subprocess.run(command, env=defaults | variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, f"{done.returncode}, not {status}: {done.stdout}{done.stderr}"
        return (place / "recorded").read_text(), (place / "recorded.settings").read_text(), done.stdout + done.stderr


def check():
    calls, settings, _ = run()
    assert "--create --if-not-exists --topic purchases --partitions 5" in calls and "--topic purchases.dlq --partitions 1" in calls
    assert "--alter" not in calls and "replication-factor" not in calls and settings == "security.protocol=PLAINTEXT\n"
    assert "retention" not in calls.replace("--topic purchases.dlq --partitions 1 --config retention.ms=-1", ""), "the retention of purchases is that of the brokers"
    assert "--alter --topic purchases --partitions 5" in run(HAS="purchases=1,1 purchases.dlq=1,1")[0], "no partitions were added"
    events, _, _ = run(TOPIC="", EVENT_TOPICS="user_created order_created", REPLICATION="3")
    for topic in ("user_created", "order_created"):
        assert f"--topic {topic} --replication-factor 3 --config min.insync.replicas=2 --partitions 5 --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete" in events
        assert f"--topic {topic}.dlq --replication-factor 3 --config min.insync.replicas=2 --partitions 1" in events and f"--alter --topic {topic} --partitions 5" in events
        kept = [line for line in events.splitlines() if line.startswith("configs.sh") and f"--alter --entity-type topics --entity-name {topic} " in line]
        assert len(kept) == 1 and kept[0].endswith("--add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete"), "the retention of an existing topic was not changed"
    assert "purchases" not in events
    assert "--alter" not in run(HAS="purchases=12,1 purchases.dlq=1,1")[0], "partitions cannot be removed"
    safe = "purchases=5,3,2 purchases.dlq=1,3,2"
    assert "--replication-factor 3 --config min.insync.replicas=2" in run(REPLICATION="3", HAS=safe)[0]
    for has, parts in (
        ("purchases=5,1,1 purchases.dlq=1,3,2", ["purchases has 1 replicas, 3 are required", "purchases has min.insync.replicas=1"]),
        ("purchases=5,3,1 purchases.dlq=1,3,2", ["purchases has min.insync.replicas=1, 2 is required", "--entity-name purchases --add-config min.insync.replicas=2"]),
        ("purchases=5,3,2 purchases.dlq=1,1,2", ["purchases.dlq has 1 replicas, 3 are required"]),
        ("purchases=5,3,2 purchases.dlq=1,3", ["purchases.dlq has min.insync.replicas=1"]),
        ("purchases=5,3,2", ["purchases.dlq does not exist"]),
    ):
        output = run(REPLICATION="3", HAS=has, status=3)[2]
        assert all(part in output for part in parts) and output.count("required") >= len(parts) - ("--add-config" in parts[-1]), output
    assert "kafka-configs" not in run(REPLICATION="2", HAS="purchases=5,2 purchases.dlq=1,2")[0], "with two replicas, min.insync.replicas is the default of the brokers"
    run(REPLICATION="2", HAS="purchases=5,1 purchases.dlq=1,2", status=3)
    run(unavailable=True, status=1)

    waited = {"TOPICS": "purchases purchases.dlq", "REPLICATION": "3"}
    calls, settings, output = run("wait", HAS=safe, **waited)
    assert calls.count("\n") == 1 and "--create" not in calls and "--alter" not in calls and not output, "wait only describes"
    assert "default.api.timeout.ms" in settings
    calls, _, output = run("wait", unavailable=True, **waited)
    assert calls.count("\n") == 4 and output.count("Kafka is unavailable: java.lang.Exception: unavailable") == 1 and "starting the service without" in output
    for has, part in (("", "purchases does not exist"), ("purchases=5,1 purchases.dlq=1,3", "purchases has 1 replicas, 3 are required")):
        output = run("wait", HAS=has, THEN=safe, **waited)[2]
        assert output.count(part) == 1, output
    login = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_USERNAME": "shop", "KAFKA_TLS": "on", "KAFKA_CA_FILE": "/ca"}
    settings = run(**login)[1]
    # Unescaped as a properties file.
    read = dict(line.replace("\\\\", "\0").replace("\0", "\\").split("=", 1) for line in settings.splitlines())
    assert r'ScramLoginModule required username="shop" password="a\"b\\c";' in read["sasl.jaas.config"], settings
    assert (read["security.protocol"], read["ssl.truststore.location"]) == ("SASL_SSL", "/ca")
