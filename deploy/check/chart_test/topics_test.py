"""The script of the topic job, with a stand-in for Kafka's programs that writes down what they are asked for."""

import os
import pathlib
import subprocess
import tempfile

from rendering import CHART

STAND_IN = """#!/bin/bash
echo "${0##*/kafka-} $*" >>"$ASKED"
cat "$4" >"$ASKED.settings"
case " $* " in *" --describe "*) echo "Topic: any	TopicId: x	PartitionCount: $HAS	ReplicationFactor: 1" ;; esac
"""


def run(**variables):
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for program in ("kafka-topics.sh", "kafka-configs.sh"):
            (place / program).write_text(STAND_IN)
            (place / program).chmod(0o755)
        (place / "password").write_text(r'a"b\c')
        usual = {
            "KAFKA_BIN": folder, "ASKED": f"{folder}/asked", "PATH": os.environ["PATH"], "SERVERS": "k:9092",
            "TOPIC": "purchases", "PARTITIONS": "5", "REPLICATION": "0", "HAS": "5", "KAFKA_PASSWORD_FILE": f"{folder}/password",
        }  # fmt: skip
        done = subprocess.run(["bash", CHART / "files/topics.sh"], env=usual | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (place / "asked").read_text(), (place / "asked.settings").read_text()


def check():
    asked, settings = run()
    assert "--create --if-not-exists --topic purchases --partitions 5" in asked and "--topic purchases.dlq --partitions 1" in asked
    assert "--alter" not in asked and "replication-factor" not in asked and settings == "security.protocol=PLAINTEXT\n"
    assert "retention" not in asked.replace("--topic purchases.dlq --partitions 1 --config retention.ms=-1", ""), "purchases are kept as long as the brokers say"
    assert "--alter --topic purchases --partitions 5" in run(HAS="1")[0], "a topic of one partition stays so"
    events, _ = run(TOPIC="", EVENT_TOPICS="user_created order_created", HAS="1", REPLICATION="3")
    for topic in ("user_created", "order_created"):
        assert f"--topic {topic} --partitions 5 --replication-factor 3 --config min.insync.replicas=2 --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete" in events
        assert f"--topic {topic}.dlq --partitions 1" in events and f"--alter --topic {topic} --partitions 5" in events
        kept = [line for line in events.splitlines() if line.startswith("configs.sh") and f"--entity-name {topic} " in line]
        assert len(kept) == 1 and kept[0].endswith("--add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete"), "one of a broker that forgets stays so"
    assert "purchases" not in events
    assert "--alter" not in run(HAS="12")[0], "partitions cannot be taken away"
    assert "--replication-factor 3 --config min.insync.replicas=2" in run(REPLICATION="3")[0]
    login = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_USERNAME": "shop", "KAFKA_TLS": "on", "KAFKA_CA_FILE": "/ca"}
    settings = run(**login)[1]
    # As a properties file is read, and then a login.
    read = dict(line.replace("\\\\", "\0").replace("\0", "\\").split("=", 1) for line in settings.splitlines())
    assert r'ScramLoginModule required username="shop" password="a\"b\\c";' in read["sasl.jaas.config"], settings
    assert (read["security.protocol"], read["ssl.truststore.location"]) == ("SASL_SSL", "/ca")
