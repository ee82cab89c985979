#!/bin/sh
# Sends the documented requests of the five replaced systems to a running facing, and compares the responses with their
# documentation. Requires curl. Uses new users in each run, so it can be repeated and run concurrently.
#
# usage: deploy/smoke.sh BASE_URL [DIALECT]
#        API_BASE=BASE_URL deploy/smoke.sh [DIALECT]
#
# BASE_URL  URL of facing, such as http://localhost:3000
# DIALECT   its SHOP_DIALECT (default `default`), which applies to paths that several systems share
#
# Prints each check. Exits with 1 at the first difference, with 2 for invalid arguments.
set -eu

base=${API_BASE:-}
# The names of dialects have no colon.
case ${1:-} in
  *:*)
    base=$1
    shift
    ;;
esac
if [ -z "$base" ] || [ $# -gt 1 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" >&2
  exit 2
fi
base=${base%/}
dialect=${1:-default}
# Makes the users of this run unique.
run=$(date +%s)-$$
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# request WHAT STATUS CURL-ARGUMENT...: sets $body and $head to the response.
request() {
  what=$1 expected=$2
  shift 2
  status=$(curl -sS --max-time 30 -D "$folder/head" -o "$folder/body" -w '%{http_code}' "$@") ||
    { echo "FAILED: $what: no response from $base" >&2; exit 1; }
  body=$(cat "$folder/body")
  head=$(tr -d '\r' <"$folder/head")
  [ "$status" = "$expected" ] || differs "status $expected"
  echo "ok: $what"
}

differs() { # WHAT WAS EXPECTED
  printf 'FAILED: %s\n  expected: %s\n  answered: %s %s\n' "$what" "$1" "$status" "$body" >&2
  exit 1
}

is() { # TEXT: the whole body
  [ "$body" = "$1" ] || differs "$1"
}

has() { # TEXT...: parts of the body
  for part in "$@"; do
    case $body in
      *"$part"*) ;;
      *) differs "a body with $part" ;;
    esac
  done
}

has_not() { # TEXT
  case $body in
    *"$1"*) differs "a body without $1" ;;
  esac
}

has_header() { # TEXT, in lower case
  printf '%s\n' "$head" | tr '[:upper:]' '[:lower:]' | grep -q "$1" || differs "the header $1"
}

post() { # WHAT STATUS PATH JSON
  request "$1" "$2" -X POST "$base$3" -H 'Content-Type: application/json' -d "$4"
}

get() { # WHAT STATUS PATH
  request "$1" "$2" "$base$3"
}

# bought STATUS PATH NAME ID PRICE: publishes a purchase and sets $id, to wait for it.
bought() {
  post "buy $5 for $4 at $2" "$1" "$2" "{\"username\":\"$3\",\"userid\":\"$4\",\"price\":$5}"
  id=$(printf '%s\n' "$head" | tr '[:upper:]' '[:lower:]' | sed -n 's/^x-purchase-id: //p')
  [ -n "$id" ] || differs "the header x-purchase-id"
}

# The README of scalable-shop, below its ingress path.
scalable_shop() {
  prefix=$1
  get "scalable-shop: alive at $prefix/healthz" 200 "$prefix/healthz"
  is Success
  get "scalable-shop: paths at $prefix/" 200 "$prefix/"
  has '"/buy"' '"/getAllUserBuys"' '"/healthz"' '"/"'
  request "scalable-shop: an unknown user's purchases, as in its helm test" 200 "$base$prefix/getAllUserBuys/foo-$run"
  is "{\"username\":\"foo-$run\",\"purchases\":[]}"
  post "scalable-shop: buy at $prefix/buy" 200 "$prefix/buy" \
    "{\"username\":\"joe-$run$2\",\"userid\":\"005\",\"price\":\"1195.30\",\"timestamp\":\"2024-05-18T10:20:30.123Z\"}"
  is '{"status":"Ok!","message":"Message successfully sent to Kafka!"}'
  id=$(printf '%s\n' "$head" | tr '[:upper:]' '[:lower:]' | sed -n 's/^x-purchase-id: //p')
  get "scalable-shop: joe's purchases" 200 "$prefix/getAllUserBuys/joe-$run$2?wait_for=$id&wait=10"
  has "{\"username\":\"joe-$run$2\",\"purchases\":[{\"_id\":\"$id\"" '"userid":"005"' '"price":"1195.30"' \
    '"timestamp":"2024-05-18T10:20:30.123Z"'
  post "scalable-shop: an empty body" 400 "$prefix/buy" '{}'
  has '"status":"Error"' '"message":'
}

# The README and the smoke script of user-buy-list.
user_buy_list() {
  prefix=$1 user=ubl-$run$2
  get "user-buy-list: an unknown user's purchases at $prefix/getAllUserBuys" 200 "$prefix/getAllUserBuys/$user"
  is '[]'
  bought 201 "$prefix/buy" alice "$user" 12.5
  has '{"message":"Purchase recorded","purchase":{"username":"alice"' "\"userid\":\"$user\"" '"price":12.5'
  bought 201 "$prefix/buy" alice "$user" '"7.25"'
  get "user-buy-list: both, the newest first" 200 "$prefix/getAllUserBuys/$user?wait_for=$id&wait=10"
  has "[{\"_id\":\"$id\"" '"price":7.25' '"price":12.5' '"__v":0'
  post "user-buy-list: missing members" 400 "$prefix/buy" '{"username":"alice"}'
  is '{"error":"Missing required fields: username, userid, price"}'
  post "user-buy-list: a price above zero" 400 "$prefix/buy" "{\"username\":\"alice\",\"userid\":\"$user\",\"price\":0}"
  is '{"error":"Price must be a positive number"}'
  post "user-buy-list: malformed JSON" 400 "$prefix/buy" '{'
  request "user-buy-list: another media type" 400 -X POST "$base$prefix/buy" -H 'Content-Type: text/plain' -d x
  if [ -z "$prefix" ]; then
    get "user-buy-list: health" 200 /health
    has '"status":"ok"' '"kafkaReady":true'
    # Other systems allowed no pages of other origins.
    request "user-buy-list: CORS preflight" 200 -X OPTIONS "$base/buy" -H 'Origin: http://localhost:8080' \
      -H 'Access-Control-Request-Method: POST'
    has_header '^access-control-allow-origin: \*'
  fi
}

# The tests of the README of the purchase tracking system.
purchase_tracking() {
  one=pt-$run two=pt2-$run
  get "purchase tracking: health" 200 /health
  has '"status":"healthy"'
  if [ "$dialect" = purchase-tracking ]; then is '{"status":"healthy"}'; fi
  bought 201 /buy john "$one" 29.99
  has '{"status":"success","message":"Purchase recorded","data":{' '"username":"john"' "\"userid\":\"$one\"" '"price":29.99'
  get "purchase tracking: one purchase" 200 "/getAllUserBuys/$one?wait_for=$id&wait=10"
  has "\"userid\":\"$one\"" '"count":1' '"total_spent":29.99'
  bought 201 /buy john "$one" 15.50
  bought 201 /buy john "$one" 42.00
  get "purchase tracking: three purchases, and their sum" 200 "/getAllUserBuys/$one?wait_for=$id&wait=10"
  has '"count":3' '"total_spent":87.49'
  bought 201 /buy jane "$two" 5
  get "purchase tracking: another user" 200 "/getAllUserBuys/$two?wait_for=$id&wait=10"
  has '"count":1' '"total_spent":5'
  has_not john
  post "purchase tracking: missing members" 400 /buy '{"username":"john"}'
  is "{\"error\":\"Missing required fields: ['userid', 'price']\"}"
  post "purchase tracking: a price that is not a number" 400 /buy "{\"username\":\"john\",\"userid\":\"$one\",\"price\":\"abc\"}"
  is '{"error":"Price must be a valid number"}'
  post "purchase tracking: a negative price" 400 /buy "{\"username\":\"john\",\"userid\":\"$one\",\"price\":-5}"
  is '{"error":"Price cannot be negative"}'
  post "purchase tracking: an empty body" 400 /buy '{}'
  is '{"error":"Request body must be JSON"}'
}

# The README of shopping-system-k8s.
shopping_system() {
  user=ss-$run
  get "shopping-system: alive" 200 /-/healthy
  is '{"status":"alive"}'
  get "shopping-system: ready" 200 /-/ready
  has '"status":"ready"'
  bought 202 /api/v1/buy bob "$user" 50.0
  has '{"status":"success","message":"Purchase recorded","data":{"username":"bob"' "\"userid\":\"$user\"" '"price":50.0' \
    '"timestamp":1'
  get "shopping-system: bob's purchases" 200 "/api/v1/getAllUserBuys/$user?wait_for=$id&wait=10"
  has "[{\"username\":\"bob\",\"userid\":\"$user\",\"price\":50.0,\"timestamp\":1"
  has_not _id
  get "shopping-system: an unknown user's purchases" 200 "/api/v1/getAllUserBuys/unknown-$run"
  is '[]'
  get "shopping-system: a slash at the end" 307 "/api/v1/getAllUserBuys/unknown-$run/"
  post "shopping-system: a missing member" 422 /api/v1/buy '{"username":"bob","userid":"1"}'
  has '"detail":[{' '"loc":["body","price"]' '"msg":"Field required"' '"type":"missing"'
  post "shopping-system: a number instead of a string" 422 /api/v1/buy '{"username":"bob","userid":1,"price":1}'
  has '"type":"string_type"'
  get "shopping-system, ecommerce: the OpenAPI document" 200 /openapi.json
  has '"openapi":"3.1' '"/v1/purchases"'
  get "shopping-system, ecommerce: its page" 200 /docs
  has swagger-ui
  get "shopping-system, ecommerce: an unknown path" 404 /api/v1/nowhere
  is '{"detail":"Not Found"}'
}

# The six requests of the README of ecommerce, if the roles are present. Its header `Content` has no effect.
ecommerce() {
  get "ecommerce: an unknown user" 404 /users/0
  if [ "$body" = '{"detail":"Not Found"}' ]; then
    echo "skipped: ecommerce: the roles users and orders are not present"
    return
  fi
  is '{"detail":"User not found"}'
  user="{\"email\":\"ec-$run@example.com\",\"name\":\"Test User\"}"
  request "ecommerce: a user" 201 -X POST "$base/users" -H 'Content: application/json' -H 'Content-Type: application/json' -d "$user"
  number=$(row)
  is "{\"id\":$number,\"email\":\"ec-$run@example.com\",\"name\":\"Test User\"}"
  get "ecommerce: the user again" 200 "/users/$number"
  is "{\"id\":$number,\"email\":\"ec-$run@example.com\",\"name\":\"Test User\"}"
  get "ecommerce: a slash at the end" 307 "/users/$number/"
  has_header "^location: /users/$number\$"
  order="{\"user_id\":$number,\"product\":\"Laptop\",\"quantity\":2,\"total_price\":50.00}"
  # Orders consume an event of the user, which may be in flight.
  tries=0
  while [ $tries -lt 100 ] && [ "$(curl -s --max-time 30 -o "$folder/body" -w '%{http_code}' -X POST "$base/orders" \
    -H 'Content-Type: application/json' -d "$order")" = 404 ]; do
    tries=$((tries + 1))
    sleep 0.2
  done
  post "ecommerce: an order" 201 /orders "$order"
  first=$(row)
  has "\"user_id\":$number,\"product\":\"Laptop\",\"quantity\":2,\"total_price\":\"50.00\"}"
  get "ecommerce: the order again" 200 "/orders/$first"
  is "{\"id\":$first,\"user_id\":$number,\"product\":\"Laptop\",\"quantity\":2,\"total_price\":\"50.00\"}"
  post "ecommerce: the same address" 400 /users "$user"
  is '{"detail":"Email already registered"}'
  post "ecommerce: the same order is not deduplicated" 201 /orders "$order"
  [ "$(row)" -gt "$first" ] || differs "an id above $first"
  post "ecommerce: an order of an unknown user" 404 /orders \
    '{"user_id":9007199254740991,"product":"Laptop","quantity":1,"total_price":"1.00"}'
  is '{"detail":"User not found"}'
}

# The id in the response.
row() {
  id=$(printf '%s' "$body" | sed -n 's/^{"id":\([0-9][0-9]*\),.*/\1/p')
  [ -n "$id" ] || differs "an id"
  printf '%s' "$id"
}

# The README of this project.
ours() {
  user=own-$run
  bought 201 /v1/purchases ada "$user" 29.99
  has '"receipt":' "\"id\":\"$id\""
  has_header "^location: /v1/purchases/$id?wait_for=$id"
  get "our own API: the purchase" 200 "/v1/purchases/$id?wait_for=$id&wait=10"
  has "\"id\":\"$id\"" '"price":29.99'
  get "our own API: the sum" 200 "/v1/summary?userid=$user"
  is '{"count":1,"total_spent":29.99}'
  get "our own API: an unknown parameter" 422 "/v1/purchases?userId=$user"
  has '"errors":' '"parameter":"userId"'
  get "our own API: purchases of all users, which facing does not list" 403 '/v1/purchases?everyone=true'
  post "our own API: an unknown member" 422 /v1/purchases \
    "{\"username\":\"ada\",\"userid\":\"$user\",\"price\":1,\"currency\":\"EUR\"}"
  has '"pointer":"#/currency"'
  for time in first second; do
    request "our own API: a purchase with a key, the $time time" 201 -X POST "$base/v1/purchases" \
      -H 'Content-Type: application/json' -H "Idempotency-Key: order-$run" \
      -d "{\"username\":\"ada\",\"userid\":\"$user\",\"price\":1}"
  done
  request "our own API: another purchase with the same key" 409 -X POST "$base/v1/purchases" \
    -H 'Content-Type: application/json' -H "Idempotency-Key: order-$run" \
    -d "{\"username\":\"ada\",\"userid\":\"$user\",\"price\":2}"
}

# The shared paths in the dialect `default`.
of_default() {
  user=def-$run
  bought 201 /buy ada "$user" 29.99
  has '"status":"success"' '"message":"Purchase recorded"' '"data":{' '"purchase":{'
  get "default: by user id, with count and sum" 200 "/getAllUserBuys/$user?wait_for=$id&wait=10"
  has "\"userid\":\"$user\"" '"count":1' '"total_spent":29.99' '"matched_by":"userid"'
  get "default: an unknown user's purchases" 200 "/getAllUserBuys/unknown-$run"
  has '"purchases":[]' '"count":0'
}

echo "facing at $base, dialect $dialect"
# The paths of these belong to one system and do not depend on the dialect.
scalable_shop /scalable-shop-cm-server -prefixed
user_buy_list /api -prefixed
shopping_system
ecommerce
ours
case $dialect in
  default | ecommerce | shopping-system)
    of_default
    purchase_tracking
    ;;
  scalable-shop) scalable_shop '' '' ;;
  user-buy-list) user_buy_list '' '' ;;
  purchase-tracking)
    purchase_tracking
    get "purchase tracking: an unknown user's purchases" 404 "/getAllUserBuys/unknown-$run"
    is "{\"userid\":\"unknown-$run\",\"purchases\":[],\"count\":0,\"total_spent\":0}"
    ;;
  *)
    echo "unknown dialect: $dialect" >&2
    exit 2
    ;;
esac
echo "all is as documented"
