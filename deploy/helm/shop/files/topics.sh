#!/bin/bash
# Sees to it that the topics are there with enough partitions and copies, and those of their dead letters beside them.
#
# usage: topics.sh         makes what is missing, and adds partitions. Ends with 3 when a topic that was there has fewer
#                          copies, or acknowledges with fewer, than is wanted: only its operator can mend that
#        topics.sh wait    makes nothing, and returns when TOPICS are there with enough copies
#
# environment:
#   SERVERS
#   PARTITIONS
#   TOPIC                of the purchases, if there are any
#   EVENT_TOPICS         of users and orders, separated by spaces, if there are any: nothing in them is ever deleted
#   TOPICS               what is waited for, separated by spaces
#   REPLICATION          copies of a partition; 0 for the cluster's default
#   KAFKA_SASL_MECHANISM, KAFKA_USERNAME, KAFKA_PASSWORD_FILE     a login, if there is one
#   KAFKA_TLS, KAFKA_CA_FILE                                      `on` to speak TLS, and what to trust
#   KAFKA_BIN            the folder of Kafka's programs, where the image has it unless set
#   PAUSE                seconds between two looks, 5 unless set
set -euo pipefail
programs=${KAFKA_BIN:-/opt/kafka/bin}
settings=$(mktemp)
trap 'rm -f "$settings" "$settings.errors"' EXIT

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

# described TOPIC...: of each that is there a line with its name, its partitions, and the copies of that one which has fewest.
described() {
  # They are taken for a pattern, so that it is one question; and it is no error that one is not there.
  kafka topics --describe --if-exists --topic "$(IFS='|' && echo "$*")" | awk '
    / Replicas: |\tReplicas: / {
      for (i = 1; i < NF; i++) { if ($i == "Topic:") name = $(i + 1); if ($i == "Replicas:") copies = split($(i + 1), _, ",") }
      partitions[name]++
      if (!(name in fewest) || copies < fewest[name]) fewest[name] = copies
    }
    END { for (name in partitions) print name, partitions[name], fewest[name] }'
}

# found TOPIC FIELD: of what is known of a topic, 2 for its partitions, 3 for its copies; nothing when it is not there.
found() { awk -v name="$1" -v field="$2" '$1 == name { print $field }' <<<"$known"; }

# lacking TOPIC...: what these have too few copies of, or that they are not there.
lacking() {
  local name has
  for name; do
    has=$(found "$name" 3)
    if [ -z "$has" ]; then
      echo "$name is not there, or this login may not describe it"
    elif [ "$has" -lt "$REPLICATION" ]; then
      echo "$name has $has copies of a partition, and $REPLICATION are wanted: kafka-reassign-partitions.sh adds copies"
    fi
  done
}

if [ "${1:-}" = wait ]; then
  # A look is to fail soon: a service that starts while Kafka is away answers what it can, and waits for Kafka by itself.
  printf 'request.timeout.ms=10000\ndefault.api.timeout.ms=15000\n' >>"$settings"
  away=0 before=
  read -ra topics <<<"$TOPICS"
  while :; do
    if known=$(described "${topics[@]}" 2>"$settings.errors"); then
      away=0
      said=$(lacking "${topics[@]}")
      [ -n "$said" ] || exit 0
    else
      away=$((away + 1))
      said="Kafka cannot be asked: $(grep -m 1 -i exception "$settings.errors" || echo "it does not answer at $SERVERS")"
    fi
    [ "$said" = "$before" ] || echo "$said"
    before=$said
    if [ $away -ge 4 ]; then
      echo "the service starts without having seen its topics"
      exit 0
    fi
    sleep "${PAUSE:-5}"
  done
fi

copies=()
in_sync=()
wanted_in_sync=1
if [ "$REPLICATION" != 0 ]; then
  copies=(--replication-factor "$REPLICATION")
  # Of three copies two are to be there before a record is acknowledged.
  if [ "$REPLICATION" -ge 3 ]; then
    wanted_in_sync=2
    in_sync=(--config min.insync.replicas=2)
  fi
fi

# create NAME ARGUMENT...
create() { kafka topics --create --if-not-exists --topic "$1" "${copies[@]}" "${in_sync[@]}" "${@:2}"; }

# topic NAME ARGUMENT...: made with these, with that of its dead letters.
topics=()
topic() {
  topics+=("$1")
  create "$1" --partitions "$PARTITIONS" "${@:2}"
  # Few, larger than their records by some headers, and kept until an operator settles them.
  create "$1.dlq" --partitions 1 --config retention.ms=-1 --config max.message.bytes=8388608
}

if [ -n "${TOPIC:-}" ]; then topic "$TOPIC"; fi
for events in ${EVENT_TOPICS:-}; do
  topic "$events" --config retention.ms=-1 --config retention.bytes=-1 --config cleanup.policy=delete
  # It may have been there before, made by a broker that forgets after a week.
  kafka configs --alter --entity-type topics --entity-name "$events" \
    --add-config retention.ms=-1,retention.bytes=-1,cleanup.policy=delete
done

known=$(described "${topics[@]}" "${topics[@]/%/.dlq}")
for name in "${topics[@]}"; do
  has=$(found "$name" 2)
  echo "$name has ${has:=0} partitions"
  if [ "$has" -gt 0 ] && [ "$has" -lt "$PARTITIONS" ]; then
    kafka topics --alter --topic "$name" --partitions "$PARTITIONS"
    echo "$name has $PARTITIONS partitions now"
  fi
done

faults=$(lacking "${topics[@]}" "${topics[@]/%/.dlq}")
if [ $wanted_in_sync -gt 1 ]; then
  for name in "${topics[@]}" "${topics[@]/%/.dlq}"; do
    has=$(kafka configs --describe --all --entity-type topics --entity-name "$name" |
      sed -n 's/^ *min\.insync\.replicas=\([0-9][0-9]*\).*/\1/p')
    if [ "${has:-0}" -lt $wanted_in_sync ]; then
      faults+="
$name acknowledges with ${has:-unknown} copies in sync, and $wanted_in_sync are wanted: kafka-configs.sh --alter \
--entity-type topics --entity-name $name --add-config min.insync.replicas=$wanted_in_sync"
    fi
  done
fi
if [ -n "$faults" ]; then
  printf 'not as wanted:\n%s\n' "$faults" >&2
  exit 3
fi
