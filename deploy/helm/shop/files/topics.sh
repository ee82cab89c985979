#!/bin/bash
# Ensures that the topics and their dead-letter topics exist with the required partitions and replicas.
#
# usage: topics.sh         creates missing topics and adds partitions. Exits with 3 if an existing topic has fewer
#                          replicas or in-sync replicas than required, which only an operator can fix
#        topics.sh wait    waits until TOPICS exist with enough replicas, creates nothing
#
# environment:
#   SERVERS              bootstrap servers
#   PARTITIONS           minimum number of partitions
#   TOPIC                topic of the purchases (optional)
#   EVENT_TOPICS         topics of users and orders, separated by spaces (optional); their retention is unlimited
#   TOPICS               topics to wait for, separated by spaces
#   REPLICATION          replicas of a partition; 0: the default of the brokers
#   KAFKA_SASL_MECHANISM, KAFKA_USERNAME, KAFKA_PASSWORD_FILE     credentials (optional)
#   KAFKA_TLS, KAFKA_CA_FILE                                      `on` to use TLS; CA certificates
#   KAFKA_CERT_FILE, KAFKA_KEY_FILE                               client certificate and its key (optional)
#   KAFKA_BIN            folder of Kafka's programs (default /opt/kafka/bin)
#   PAUSE                seconds between two polls (default 5)
set -euo pipefail
programs=${KAFKA_BIN:-/opt/kafka/bin}
settings=$(mktemp)
trap 'rm -f "$settings" "$settings.errors" "$settings.pem"' EXIT

# Client settings. The password is escaped twice: for JAAS and for the properties file.
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
if [ -n "${KAFKA_CERT_FILE:-}" ]; then
  # Java reads both from one file.
  cat "$KAFKA_KEY_FILE" "$KAFKA_CERT_FILE" >"$settings.pem"
  printf 'ssl.keystore.type=PEM\nssl.keystore.location=%s\n' "$settings.pem" >>"$settings"
fi
echo "security.protocol=$protocol" >>"$settings"

kafka() { # PROGRAM ARGUMENT...
  "$programs/kafka-$1.sh" --bootstrap-server "$SERVERS" --command-config "$settings" "${@:2}"
}

# describe TOPIC...: for each existing topic, a line with name, partitions, and the minimum replicas of a partition.
describe() {
  # The argument is a pattern: one request for all topics, and missing topics are not an error.
  kafka topics --describe --if-exists --topic "$(IFS='|' && echo "$*")" | awk '
    / Replicas: |\tReplicas: / {
      for (i = 1; i < NF; i++) {
        if ($i == "Topic:") name = $(i + 1)
        if ($i == "Replicas:") replicas = split($(i + 1), _, ",")
      }
      partitions[name]++
      if (!(name in fewest) || replicas < fewest[name]) fewest[name] = replicas
    }
    END { for (name in partitions) print name, partitions[name], fewest[name] }'
}

# field TOPIC NUMBER: a field of the description of a topic: 2 partitions, 3 replicas; empty if the topic does not exist.
field() { awk -v name="$1" -v field="$2" '$1 == name { print $field }' <<<"$known"; }

# check_replicas TOPIC...: a line for each topic that does not exist or has too few replicas.
check_replicas() {
  local name has
  for name; do
    has=$(field "$name" 3)
    if [ -z "$has" ]; then
      echo "$name does not exist, or these credentials are not authorized to describe it"
    elif [ "$has" -lt "$REPLICATION" ]; then
      echo "$name has $has replicas, $REPLICATION are required: add replicas with kafka-reassign-partitions.sh"
    fi
  done
}

if [ "${1:-}" = wait ]; then
  # Short timeouts: if Kafka is unavailable, the service starts, serves what it can, and reconnects by itself.
  printf 'request.timeout.ms=10000\ndefault.api.timeout.ms=15000\n' >>"$settings"
  failures=0 previous=
  read -ra topics <<<"$TOPICS"
  while :; do
    if known=$(describe "${topics[@]}" 2>"$settings.errors"); then
      failures=0
      message=$(check_replicas "${topics[@]}")
      [ -n "$message" ] || exit 0
    else
      failures=$((failures + 1))
      message="Kafka is unavailable: $(grep -m 1 -i exception "$settings.errors" || echo "no response from $SERVERS")"
    fi
    [ "$message" = "$previous" ] || echo "$message"
    previous=$message
    if [ $failures -ge 4 ]; then
      echo "starting the service without checking its topics"
      exit 0
    fi
    sleep "${PAUSE:-5}"
  done
fi

replicas=()
in_sync=()
required_in_sync=1
if [ "$REPLICATION" != 0 ]; then
  replicas=(--replication-factor "$REPLICATION")
  # A record is acknowledged after two of three replicas have it.
  if [ "$REPLICATION" -ge 3 ]; then
    required_in_sync=2
    in_sync=(--config min.insync.replicas=2)
  fi
fi

# create NAME ARGUMENT...
create() { kafka topics --create --if-not-exists --topic "$1" "${replicas[@]}" "${in_sync[@]}" "${@:2}"; }

# topic NAME ARGUMENT...: creates a topic with these arguments, and its dead-letter topic.
topics=()
topic() {
  topics+=("$1")
  create "$1" --partitions "$PARTITIONS" "${@:2}"
  # One partition is enough. Dead letters have additional headers, and are kept until they are replayed or dropped.
  create "$1.dlq" --partitions 1 --config retention.ms=-1 --config max.message.bytes=8388608
}

if [ -n "${TOPIC:-}" ]; then topic "$TOPIC"; fi
for events in ${EVENT_TOPICS:-}; do
  topic "$events" --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete
  # An existing topic may have the default retention of the brokers, often 7 days.
  kafka configs --alter --entity-type topics --entity-name "$events" \
    --add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete
done

known=$(describe "${topics[@]}" "${topics[@]/%/.dlq}")
for name in "${topics[@]}"; do
  has=$(field "$name" 2)
  echo "$name has ${has:=0} partitions"
  if [ "$has" -gt 0 ] && [ "$has" -lt "$PARTITIONS" ]; then
    kafka topics --alter --topic "$name" --partitions "$PARTITIONS"
    echo "$name has $PARTITIONS partitions after adding some"
  fi
done

problems=$(check_replicas "${topics[@]}" "${topics[@]/%/.dlq}")
if [ $required_in_sync -gt 1 ]; then
  for name in "${topics[@]}" "${topics[@]/%/.dlq}"; do
    has=$(kafka configs --describe --all --entity-type topics --entity-name "$name" |
      sed -n 's/^ *min\.insync\.replicas=\([0-9][0-9]*\).*/\1/p')
    if [ "${has:-0}" -lt $required_in_sync ]; then
      problems+="
$name has min.insync.replicas=${has:-unknown}, $required_in_sync is required: set it with kafka-configs.sh --alter \
--entity-type topics --entity-name $name --add-config min.insync.replicas=$required_in_sync"
    fi
  done
fi
if [ -n "$problems" ]; then
  printf 'topics do not meet the requirements:\n%s\n' "$problems" >&2
  exit 3
fi
