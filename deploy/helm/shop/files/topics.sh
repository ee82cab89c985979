#!/bin/bash
# Sees to it that the topics are there with enough partitions, and those of their dead letters beside them.
#
# environment:
#   SERVERS, PARTITIONS
#   TOPIC                of the purchases, if there are any
#   EVENT_TOPICS         of users and orders, separated by spaces, if there are any: nothing in them is ever deleted
#   REPLICATION          copies of a partition; 0 for the cluster's default
#   KAFKA_SASL_MECHANISM, KAFKA_USERNAME, KAFKA_PASSWORD_FILE     a login, if there is one
#   KAFKA_TLS, KAFKA_CA_FILE                                      `on` to speak TLS, and what to trust
#   KAFKA_BIN            the folder of Kafka's programs, where the image has it unless set
set -euo pipefail
programs=${KAFKA_BIN:-/opt/kafka/bin}
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

kafka() { # PROGRAM ARGUMENT...
  "$programs/kafka-$1.sh" --bootstrap-server "$SERVERS" --command-config "$settings" "${@:2}"
}

copies=()
in_sync=()
if [ "$REPLICATION" != 0 ]; then
  copies=(--replication-factor "$REPLICATION")
  # Of three copies two are to be there before a record is acknowledged.
  [ "$REPLICATION" -lt 3 ] || in_sync=(--config min.insync.replicas=2)
fi

# topic NAME ARGUMENT...: made with these, or given more partitions.
topic() {
  local name=$1 has
  shift
  kafka topics --create --if-not-exists --topic "$name" --partitions "$PARTITIONS" "${copies[@]}" "${in_sync[@]}" "$@"
  # Few, larger than their records by some headers, and kept until somebody has looked at them.
  kafka topics --create --if-not-exists --topic "$name.dlq" --partitions 1 "${copies[@]}" \
    --config retention.ms=-1 --config max.message.bytes=8388608

  has=$(kafka topics --describe --topic "$name" | sed -n 's/.*PartitionCount: *\([0-9][0-9]*\).*/\1/p' | head -n 1)
  echo "$name has ${has:?Kafka does not tell the partitions} partitions"
  if [ "$has" -lt "$PARTITIONS" ]; then
    kafka topics --alter --topic "$name" --partitions "$PARTITIONS"
    echo "$name has $PARTITIONS partitions now"
  fi
}

if [ -n "${TOPIC:-}" ]; then topic "$TOPIC"; fi
for events in ${EVENT_TOPICS:-}; do
  topic "$events" --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete
  # It may have been there before, made by a broker that forgets after a week.
  kafka configs --alter --entity-type topics --entity-name "$events" \
    --add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete
done
