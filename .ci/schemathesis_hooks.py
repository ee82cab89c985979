"""What the document of the API cannot say to schemathesis: which requests fit it, and are refused or slow all the same."""

import uuid

import schemathesis
from schemathesis import GenerationMode


@schemathesis.hook
def before_call(context, case, kwargs):
    query = case.query
    fits = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
    if fits and query:
        # A cursor comes from the page before it: one that is made up is refused.
        query.pop("cursor", None)
    # What is too long for a user's id may still be a name.
    is_too_long = len(str((case.path_parameters or {}).get("who", ""))) > 128
    if is_too_long and query and query.get("by") in ("userid", "username"):
        query.pop("by")
    # A page and a summary of /v1 are of just one user, or of everyone.
    if fits and case.operation.method.upper() == "GET" and case.operation.path.endswith(("/v1/purchases", "/v1/summary")):
        query = case.query = dict(query or {})
        given = [name for name in ("userid", "username", "everyone") if name in query]
        for name in given[1:]:
            del query[name]
        if not given:
            query["userid"] = "u1"
    # A time that is made up may be far ahead.
    if fits and isinstance(case.body, dict) and case.body.get("timestamp") is not None:
        case.body["timestamp"] = "2024-05-18T10:20:30.123Z"
    # Of two users with one address the second is refused.
    if fits and case.operation.path.endswith("/users") and isinstance(case.body, dict) and "email" in case.body:
        case.body["email"] = f"{uuid.uuid4()}@example.com"
    # An id that is made up is waited for in vain. One that was bought is stored soon.
    if "wait_for" in (query or {}) and is_a_time(query.get("wait", 2)):
        is_bought = query["wait_for"] == (case.path_parameters or {}).get("id")
        query["wait"] = 10 if is_bought else 0


@schemathesis.hook
def map_body(context, body):
    # JSON Schema counts 5.0 as an integer; as a user's id or as a quantity it is refused.
    if isinstance(body, dict):
        for member in ("userid", "username", "user_id", "quantity"):
            if isinstance(body.get(member), float) and body[member].is_integer():
                body[member] = int(body[member])
    return body


def is_a_time(value):
    try:
        return 0 <= float(value) <= 10
    except (TypeError, ValueError):
        return False
