#!/bin/bash
# Sees to it that the topic is there with enough partitions, and the one of its dead letters beside it.
#
# environment:
#   SERVERS, TOPIC, PARTITIONS
#   REPLICATION          copies of a partition; 0 for the cluster's default
#   KAFKA_SASL_MECHANISM, KAFKA_USERNAME, KAFKA_PASSWORD_FILE     a login, if there is one
#   KAFKA_TLS, KAFKA_CA_FILE                                      `on` to speak TLS, and what to trust
#   KAFKA_TOPICS         Kafka's program, where the image has it unless set
set -euo pipefail
program=${KAFKA_TOPICS:-/opt/kafka/bin/kafka-topics.sh}
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT

# How to reach Kafka. A password may hold anything: it is quoted once for the login and once for the file.
protocol=PLAINTEXT
[ "${KAFKA_TLS:-off}" = off ] || protocol=SSL
if [ -n "${KAFKA_SASL_MECHANISM:-}" ]; then
  protocol=SASL_${protocol}
  module=org.apache.kafka.common.security.scram.ScramLoginModule
  [ "$KAFKA_SASL_MECHANISM" != PLAIN ] || module=org.apache.kafka.common.security.plain.PlainLoginModule
  quoted() { printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/\\/\\\\/g'; }
  {
    echo "sasl.mechanism=$KAFKA_SASL_MECHANISM"
    echo "sasl.jaas.config=$module required username=\"$(quoted "$KAFKA_USERNAME")\"" \
      "password=\"$(quoted "$(cat "$KAFKA_PASSWORD_FILE")")\";"
  } >>"$settings"
fi
if [ -n "${KAFKA_CA_FILE:-}" ]; then
  printf 'ssl.truststore.type=PEM\nssl.truststore.location=%s\n' "$KAFKA_CA_FILE" >>"$settings"
fi
echo "security.protocol=$protocol" >>"$settings"

topics() { "$program" --bootstrap-server "$SERVERS" --command-config "$settings" "$@"; }

copies=()
in_sync=()
if [ "$REPLICATION" != 0 ]; then
  copies=(--replication-factor "$REPLICATION")
  # Of three copies two are to be there before a purchase is acknowledged.
  [ "$REPLICATION" -lt 3 ] || in_sync=(--config min.insync.replicas=2)
fi
topics --create --if-not-exists --topic "$TOPIC" --partitions "$PARTITIONS" "${copies[@]}" "${in_sync[@]}"
# Few, larger than their records by some headers, and kept until somebody has looked at them.
topics --create --if-not-exists --topic "$TOPIC.dlq" --partitions 1 "${copies[@]}" \
  --config retention.ms=-1 --config max.message.bytes=8388608

has=$(topics --describe --topic "$TOPIC" | sed -n 's/.*PartitionCount: *\([0-9][0-9]*\).*/\1/p' | head -n 1)
echo "$TOPIC has ${has:?Kafka does not tell the partitions} partitions"
if [ "$has" -lt "$PARTITIONS" ]; then
  topics --alter --topic "$TOPIC" --partitions "$PARTITIONS"
  echo "$TOPIC has $PARTITIONS partitions now"
fi
