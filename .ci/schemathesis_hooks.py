"""Adjusts generated requests that are rejected or slow for reasons that the OpenAPI document cannot express."""

import uuid

import schemathesis
from schemathesis import GenerationMode


FILES = {
    "text/csv": "username,userid,price\nada,u1,29.99\n",
    "application/x-ndjson": '{"username":"ada","userid":"u1","price":29.99}\n',
}

OPTIONS_OF_A_FILE = (
    "columns",
    "currency_sign",
    "delimiter",
    "encoding",
    "from_line",
    "only",
    "preset",
    "skip_lines",
    "thousands",
    "time_pattern",
    "time_zone",
    "zone_abbreviations",
)


@schemathesis.hook
def before_call(context, case, kwargs):
    query = case.query
    is_valid = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
    if is_valid and query:
        # A cursor is returned by the previous page: a generated one is rejected.
        query.pop("cursor", None)
        # The topics are those of the running service.
        if case.operation.path.endswith("/dead-letters"):
            query.pop("topic", None)
        # How a file is read depends on the file, and has names that the schema does not list.
        if case.operation.path.endswith(":import"):
            for name in OPTIONS_OF_A_FILE:
                query.pop(name, None)
    # The schema of a file is any text. One without the columns is rejected.
    if is_valid and case.operation.path.endswith(":import"):
        case.body = FILES.get(case.media_type, case.body)
    # Too long for a user ID, but possibly a valid name.
    is_too_long = len(str((case.path_parameters or {}).get("who", ""))) > 128
    if is_too_long and query and query.get("by") in ("userid", "username"):
        query.pop("by")
    # A page, a summary and totals of /v1 require exactly one of these parameters.
    selects = ("/v1/purchases", "/v1/summary", "/v1/totals")
    if is_valid and case.operation.method.upper() == "GET" and case.operation.path.endswith(selects):
        query = case.query = dict(query or {})
        given = [name for name in ("userid", "username", "everyone") if name in query]
        for name in given[1:]:
            del query[name]
        if not given:
            query["userid"] = "u1"
        if given[:1] == ["username"]:
            query.pop("reference", None)
        # A range ends after it starts, and totals have a limited number of periods.
        if "from" in query and "to" in query:
            query.update({"from": "2024-05-18T10:20:30.123Z", "to": "2024-05-20T08:00:00+02:00"})
    # A refund that was pending is named by all of these parameters, as its location has them.
    if is_valid and query and case.operation.path.endswith("/purchases/{id}"):
        query.pop("reason", None)
        if all(name in query for name in ("of", "amount", "timestamp")):
            query.update({"amount": "9.99", "timestamp": "2024-05-18T10:20:30.123Z"})
        else:
            for name in ("of", "amount", "timestamp"):
                query.pop(name, None)
    # The amount of a refund is at most the price, which the schema does not know.
    if is_valid and case.operation.path.endswith(":refund") and isinstance(case.body, dict):
        case.body.pop("amount", None)
    # The schema has no multipleOf: validators compare floating-point numbers, and would reject valid prices.
    for row in case.body if isinstance(case.body, list) else [case.body]:
        for member, decimals in (("price", 8), ("total_price", 2)):
            if is_valid and isinstance(row, dict) and isinstance(row.get(member), float):
                row[member] = round(row[member], decimals)
    # A generated time may be too far in the future, and the two names of a key must not differ.
    for purchase in case.body if isinstance(case.body, list) else [case.body]:
        if is_valid and isinstance(purchase, dict) and purchase.get("timestamp") is not None:
            purchase["timestamp"] = "2024-05-18T10:20:30.123Z"
        # The services have no currency.
        if is_valid and isinstance(purchase, dict):
            purchase.pop("currency", None)
        if is_valid and isinstance(purchase, dict) and case.operation.path.endswith(":batch"):
            purchase.pop("id", None)
    # A batch is accepted with invalid purchases, which are rejected one by one: the body itself is valid if it is a list.
    if not is_valid and case.operation.path.endswith(":batch"):
        case.body = {}
    # Addresses are unique: a second user with the same address is rejected.
    if is_valid and case.operation.path.endswith("/users") and isinstance(case.body, dict) and "email" in case.body:
        case.body["email"] = f"{uuid.uuid4()}@example.com"
    # Waiting for a generated ID always times out. A published purchase is stored soon.
    if "wait_for" in (query or {}) and is_wait_time(query.get("wait", 2)):
        is_published = query["wait_for"] == (case.path_parameters or {}).get("id")
        query["wait"] = 10 if is_published else 0


@schemathesis.hook
def map_body(context, body):
    # JSON Schema treats 5.0 as an integer; the services reject it as a user ID or a quantity.
    for purchase in body if isinstance(body, list) else []:
        map_body(context, purchase)
    if isinstance(body, dict):
        for member in ("userid", "username", "user_id", "quantity"):
            if isinstance(body.get(member), float) and body[member].is_integer():
                body[member] = int(body[member])
    return body


def is_wait_time(value):
    try:
        return 0 <= float(value) <= 10
    except (TypeError, ValueError):
        return False
