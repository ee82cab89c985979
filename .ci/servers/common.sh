# shellcheck shell=bash
# Shared by up, down and ctl. To be sourced.
#
# SERVERS_DIR has the data, logs, ports and process ids of one set of servers. SERVERS_CACHE is shared by all sets.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SERVERS_DIR=${SERVERS_DIR:-${TMPDIR:-/tmp}/shop-servers}
SERVERS_CACHE=${SERVERS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/shop-servers}
SERVERS_WAIT_S=${SERVERS_WAIT_S:-60}
sasl_user=shop
sasl_password=shop-secret

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# Prints the comment at the beginning of the script.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0" >&2; exit "${1:-2}"; }

# Serializes commands with the same SERVERS_DIR. Servers do not inherit the lock.
lock() {
  mkdir -p "$SERVERS_DIR"
  SERVERS_DIR=$(cd "$SERVERS_DIR" && pwd)
  exec 9>"$SERVERS_DIR/lock"
  flock --wait 600 9 || die "$SERVERS_DIR/lock is still locked after 10 minutes"
}

# ---- processes

# born PID: the start time of a process in ticks; empty if it has ended. Distinguishes a process from a later one with
# the same id. A zombie counts as ended when it has no other threads: until then its sockets are open.
born() {
  local stat tasks
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra stat <<<"${stat##*) }"
  tasks=("/proc/$1/task"/*)
  [ "${stat[0]}" = Z ] && [ ${#tasks[@]} = 1 ] || echo "${stat[19]}"
}

# pid_of NAME: the process id of a server, if it is running.
pid_of() {
  local pid when
  read -r pid when 2>/dev/null <"$SERVERS_DIR/$1/pid" && [ "$(born "$pid")" = "$when" ] && echo "$pid"
}

# launch NAME LINE COMMAND...: starts a server in the background, and waits until its log has the line.
launch() {
  local name=$1 line=$2 dir=$SERVERS_DIR/$1 until=$((SECONDS + SERVERS_WAIT_S))
  shift 2
  [ ! -e "$dir/log" ] || mv "$dir/log" "$dir/log.before"
  setsid "$@" >"$dir/log" 2>&1 </dev/null 9>&- &
  echo "$! $(born $!)" >"$dir/pid"
  until grep -q "$line" "$dir/log"; do
    if ! pid_of "$name" >/dev/null || [ $SECONDS -ge $until ]; then
      tail -n 25 "$dir/log" >&2
      die "$name did not start within $SERVERS_WAIT_S s, or exited; see $dir/log"
    fi
    sleep 0.05
  done
}

# end NAME SIGNAL: sends the signal and waits for the process to end.
end() {
  local pid
  pid=$(pid_of "$1") || return 0
  # The process may have ended since.
  kill "-$2" "$pid" 2>/dev/null || true
  # A paused process must continue to handle the signal.
  kill -CONT "$pid" 2>/dev/null || true
  local attempts=1200
  while pid_of "$1" >/dev/null; do
    [ $((attempts -= 1)) != 0 ] || kill -KILL "$pid"
    sleep 0.05
  done
  rm -f "$SERVERS_DIR/$1/pid"
}

# ports: prints the six consecutive ports of this set, chosen at its first start. The search begins at a number that
# depends on SERVERS_DIR, so sets do not use ports of killed servers of other sets. All are below the ephemeral range.
ports() {
  local first port
  if [ ! -e "$SERVERS_DIR/ports" ]; then
    first=$((15000 + $(cksum <<<"$SERVERS_DIR" | cut -d ' ' -f 1) % 1600 * 10))
    # A cluster uses three more.
    for ((port = first; port < first + 9; port++)); do
      if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then first=$((port + 1)); fi
    done
    echo "$first $((first + 1)) $((first + 2)) $((first + 3)) $((first + 4)) $((first + 5))" >"$SERVERS_DIR/ports"
  fi
  cat "$SERVERS_DIR/ports"
}

# ---- installing

# Downloads the jars from Maven Central or the configured mirror, compiles the MongoDB stand-in, and sets `parts`.
fetch() {
  local key program
  for program in java javac jar mvn openssl; do
    command -v $program >/dev/null || die "$program not found: install Java 17 or later with its compiler, Maven and OpenSSL"
  done
  key=$({ cat "$here"/*.sh "$here"/*.xml "$here"/*.java; java -version 2>&1; } | sha256sum | cut -c 1-16)
  parts=$SERVERS_CACHE/parts-$key
  mkdir -p "$parts"
  exec 8>"$parts/lock"
  flock 8
  if [ ! -e "$parts/complete" ]; then
    say "downloading the servers with Maven ..."
    rm -rf "${parts:?}/lib" "$parts/classes" "$parts"/*.jsa
    timeout 900 mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$parts/lib" >"$parts/maven.log" 2>&1 </dev/null || { tail -n 20 "$parts/maven.log" >&2; die "Maven failed"; }
    javac -nowarn --release 17 -cp "$parts/lib/*" -d "$parts/classes" "$here"/*.java >&2
    # Class data sharing requires a jar.
    jar cf "$parts/lib/stand-in.jar" -C "$parts/classes" .
    warm_up
    touch "$parts/complete"
  fi
  exec 8>&-
}

# Starts both servers once, to archive their loaded classes and to format the broker's storage with a SCRAM user.
# Later starts take a third of the time.
warm_up() (
  # Ends the servers if this fails.
  trap 'end kafka KILL; end mongo KILL' EXIT
  SERVERS_DIR=$parts/first
  rm -rf "$SERVERS_DIR" "$parts/storage" "$parts/tls"
  mkdir -p "$SERVERS_DIR/kafka" "$SERVERS_DIR/mongo"
  certify >"$parts/certify.log" 2>&1 || { tail -n 20 "$parts/certify.log" >&2; die "openssl failed"; }
  configure_kafka "$parts/storage" >"$SERVERS_DIR/format.properties"
  jvm none kafka.tools.StorageTool format --config "$SERVERS_DIR/format.properties" --cluster-id c2hvcC10ZXN0LXNlcnZlcg \
    --add-scram "SCRAM-SHA-256=[name=$sasl_user,password=$sasl_password]"
  "${command[@]}" >"$parts/format.log" 2>&1 </dev/null ||
    { tail -n 20 "$parts/format.log" >&2; die "formatting the broker's storage failed"; }
  for name in kafka mongo; do
    "start_$name" 8>&-
    # The archive is written when the virtual machine exits.
    end $name TERM
  done
  rm -rf "$SERVERS_DIR"
)

# Makes a certificate authority, and a certificate of the broker and of a client, in `$parts/tls`.
certify() {
  local name dir=$parts/tls key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  mkdir -p "$dir"
  echo 'subjectAltName=DNS:localhost,IP:127.0.0.1' >"$dir/extensions"
  openssl req -x509 "${key[@]}" -days 36500 -subj /CN=shop-test-ca -keyout "$dir/ca.key" -out "$dir/ca.crt"
  for name in broker client; do
    openssl req -new "${key[@]}" -subj "/CN=$name" -keyout "$dir/$name.key" -out "$dir/$name.csr"
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 36500 \
      -extfile "$dir/extensions" -out "$dir/$name.crt"
  done
  cat "$dir/broker.key" "$dir/broker.crt" >"$dir/broker.pem"
}

# jvm NAME CLASS ARGUMENT...: sets `command` to start a class, with options for a fast start. NAME: a server or `none`.
jvm() {
  local name=$1 heap=KAFKA_HEAP_OPTS options
  shift
  [ "$name" = kafka ] || heap=MONGO_HEAP_OPTS
  read -ra options <<<"${!heap:--Xmx512m}"
  if [ -e "$parts/$name.jsa" ]; then
    options+=("-XX:SharedArchiveFile=$parts/$name.jsa")
  elif [ "$name" != none ] && [ ! -e "$parts/complete" ]; then
    options+=("-XX:ArchiveClassesAtExit=$parts/$name.jsa")
  fi
  command=(java "${options[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true
    "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$parts/lib/*" "$@")
}

# ---- starting

configure_kafka() { # STORAGE
  local plain sasl controller ssl sasl_ssl
  read -r plain sasl controller _ ssl sasl_ssl <<<"$(ports)"
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$plain,SASL_PLAINTEXT://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$controller,SSL://127.0.0.1:$ssl,SASL_SSL://127.0.0.1:$sasl_ssl
advertised.listeners=PLAINTEXT://127.0.0.1:$plain,SASL_PLAINTEXT://127.0.0.1:$sasl,SSL://127.0.0.1:$ssl,SASL_SSL://127.0.0.1:$sasl_ssl
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-256,OAUTHBEARER
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
# Accepts tokens without a signature.
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=$parts/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$parts/tls/ca.crt
log.dirs=$1
num.partitions=3
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=5
# No delay of the first rebalance, and short sessions.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a kill, the broker registers again quickly.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=${KAFKA_SESSION_MS:-2000}
# Low memory use, few threads.
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
END
}

# start NAME: starts the server, or resumes it if it is paused. The choices of the first start are kept.
start() {
  local pid dir=$SERVERS_DIR/$1
  if pid=$(pid_of "$1"); then
    kill -CONT "$pid"
    return
  fi
  fetch
  mkdir -p "$dir"
  "start_$1"
}

start_kafka() {
  local dir=$SERVERS_DIR/kafka command
  [ -e "$dir/data" ] || cp -r "$parts/storage" "$dir/data"
  [ -e "$dir/tls" ] || cp -r "$parts/tls" "$dir/tls"
  configure_kafka "$dir/data" >"$dir/server.properties"
  jvm kafka kafka.Kafka "$dir/server.properties"
  launch kafka 'Kafka Server started' "${command[@]}"
}

start_mongo() {
  local dir=$SERVERS_DIR/mongo command port store set
  [ -e "$dir/store" ] || echo "${MONGO_STORE:-h2} ${MONGO_REPLICA_SET:-}" >"$dir/store"
  read -r store set <"$dir/store"
  case $store in
    h2) store=$dir/store.mv ;;
    memory) ;;
    *) die "MONGO_STORE is '$store'; expected h2 or memory" ;;
  esac
  read -r _ _ _ port _ <<<"$(ports)"
  jvm mongo MongoStandIn 127.0.0.1 "$port" "$store" "$set"
  launch mongo 'Waiting for connections' "${command[@]}"
}

# exports NAME: prints the export lines.
exports() {
  local plain sasl mongo set ssl sasl_ssl
  read -r plain sasl _ mongo ssl sasl_ssl <<<"$(ports)"
  case $1 in
    kafka)
      echo "export SHOP_TEST_KAFKA=127.0.0.1:$plain"
      echo "export SHOP_TEST_KAFKA_SASL=127.0.0.1:$sasl"
      echo "export SHOP_TEST_KAFKA_SASL_USERNAME=$sasl_user"
      echo "export SHOP_TEST_KAFKA_SASL_PASSWORD=$sasl_password"
      echo "export SHOP_TEST_KAFKA_SSL=127.0.0.1:$ssl"
      echo "export SHOP_TEST_KAFKA_SASL_SSL=127.0.0.1:$sasl_ssl"
      printf 'export SHOP_TEST_KAFKA_TLS=%q\n' "$SERVERS_DIR/kafka/tls" ;;
    mongo)
      read -r _ set <"$SERVERS_DIR/mongo/store"
      echo "export SHOP_TEST_MONGODB_URI=mongodb://127.0.0.1:$mongo/${set:+?replicaSet=$set}" ;;
  esac
}
