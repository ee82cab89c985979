//! The OpenAPI document, and the page that shows it.

use shop_http::{RouteGroup, RouterBuilder};

use crate::prelude::*;

/// A service with all roles.
struct App {
    name: String,
    router: Router,
    paths: Vec<String>,
    document: Value,
}

/// Both services with these settings of further roles.
async fn apps(settings: &str) -> [App; 2] {
    let roles = AllRoles::default();
    roles.add_rows().await;
    let facing = App::new("facing", roles.facing(), settings).await;
    let management = App::new("management", roles.management(), settings).await;
    [facing, management]
}

impl App {
    async fn new(service: &str, mut parts: Parts, settings: &str) -> Self {
        let mut others = settings.split_whitespace().collect();
        parts.roles.extend(crate::take_roles(&mut others));
        let routes = routes(parts);
        let paths = routes.paths();
        let router = routes.build();
        let document = get(&router, "/openapi.json").await.json();
        Self {
            name: format!("{service}, {settings}"),
            router,
            paths,
            document,
        }
    }
}

/// Whether a path has routes: none of them has this method.
pub(crate) async fn is_routed(service: &Router, path: &str) -> bool {
    let path = path.replace(['{', '}'], "");
    let patch = request(Method::PATCH, &path, &[], Body::empty());
    send(service, patch).await.status == StatusCode::METHOD_NOT_ALLOWED
}

/// The paths of each group of routes. Asserts that they are those that a router with the group has, and that one without
/// it lacks.
pub(crate) async fn paths_by_group(facing: impl Fn() -> RouterBuilder) -> String {
    let paths = |builder: RouterBuilder| builder.paths().into_iter().collect::<BTreeSet<_>>();
    let all = paths(facing());
    let mut table = String::new();
    for group in RouteGroup::ALL {
        let paths_of_group = paths(facing().only([group]));
        let other_paths = paths(facing().without([group]));
        let only = facing().only([group]).build();
        let without = facing().without([group]).build();
        for path in &all {
            assert_eq!(
                is_routed(&only, path).await,
                paths_of_group.contains(path),
                "{path}"
            );
            assert_eq!(
                is_routed(&without, path).await,
                other_paths.contains(path),
                "{path}"
            );
        }
        table.push_str(&format!("{group:?}\n"));
        for path in &paths_of_group {
            // `/` is the page, or else the list of the other paths.
            assert!(!other_paths.contains(path) || path == "/", "{path}");
            table.push_str(&format!("    {path}\n"));
        }
    }
    table
}

/// The methods at each of these paths of a service.
pub(crate) async fn operations(service: &Router, paths: &[String]) -> Vec<(Method, String)> {
    let mut operations = Vec::new();
    for path in paths {
        let here = path.replace(['{', '}'], "");
        let response = send(service, request(Method::PATCH, &here, &[], Body::empty())).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let methods = response
            .header("allow")
            .unwrap()
            .split(',')
            .filter(|method| *method != "HEAD");
        operations.extend(methods.map(|method| (method.parse().unwrap(), path.clone())));
    }
    operations
}

/// The operations of a document, each with its method and path.
fn documented(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    })
}

#[tokio::test]
async fn every_route_of_v1_is_documented() {
    assert_eq!(documented_outside_v1("").await, "");
}

/// Asserts that the routes of `/v1` are documented with these settings of further roles. Returns a line for each
/// documented route that is elsewhere.
pub(crate) async fn documented_outside_v1(settings: &str) -> String {
    let mut outside_v1 = String::new();
    for app in apps(settings).await {
        let described: BTreeSet<_> = documented(&app.document)
            .map(|(operation, _)| operation)
            .collect();
        let routed: BTreeSet<_> = operations(&app.router, &app.paths)
            .await
            .into_iter()
            .map(|(method, path)| format!("{method} {path}"))
            .collect();
        let native: BTreeSet<_> = routed
            .iter()
            .filter(|operation| operation.contains(" /v1"))
            .cloned()
            .collect();
        assert!(described.is_subset(&routed), "{}", app.name);
        assert!(native.is_subset(&described), "{}", app.name);
        for operation in described.difference(&native) {
            outside_v1.push_str(&format!("{}: {operation}\n", app.name));
        }
    }
    outside_v1
}

#[tokio::test]
async fn every_operation_is_complete() {
    check_operations("").await;
}

/// Asserts that each documented operation is complete with these settings of further roles.
pub(crate) async fn check_operations(settings: &str) {
    for app in apps(settings).await {
        let document = &app.document;
        let mut ids = BTreeSet::new();
        for (at, operation) in documented(document) {
            let at = format!("{} {at}", app.name);
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{at}");
            // The names of functions in generated clients.
            let is_own = operation["tags"][0] == "v1";
            assert!(!is_own || id.chars().all(char::is_alphabetic), "{at}: {id}");
            assert!(
                operation["summary"].is_string() && operation["tags"][0].is_string(),
                "{at}"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses
                    .keys()
                    .any(|status| status.starts_with(['2', '3'])),
                "{at}"
            );
            let mut responses = responses
                .values()
                .map(|response| resolved(document, response));
            assert!(
                responses.all(|response| response["description"].is_string()),
                "{at}"
            );
            let bodies = &operation["requestBody"]["content"];
            let has_example = |body: &str| !bodies[body]["example"].is_null();
            let has_example = has_example("application/json") || has_example("text/csv");
            assert_eq!(!has_example, !at.contains(" POST "), "{at}");
        }
        for reference in members(document, "$ref") {
            let target = document.pointer(reference.strip_prefix('#').unwrap());
            assert!(target.is_some(), "{}: {reference}", app.name);
        }
        // Validators compare floating-point numbers, and would reject valid prices.
        assert!(!document.to_string().contains("multipleOf"), "{}", app.name);
        let links = members(&document["paths"], "operationId");
        assert!(links.into_iter().all(|id| ids.contains(id)), "{}", app.name);
    }
}

/// The texts of all members with this name.
fn members<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    match value {
        Value::Object(all) => {
            let own = all.get(name).and_then(Value::as_str);
            own.into_iter()
                .chain(all.values().flat_map(|value| members(value, name)))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| members(item, name)).collect(),
        _ => Vec::new(),
    }
}

/// `value`, or the schema that it refers to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

/// The schema of an object, which may be one of several alternatives.
fn object_schema<'a>(document: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let schema = resolved(document, schema);
    match schema["oneOf"].as_array() {
        Some(variants) => variants
            .iter()
            .find_map(|schema| object_schema(document, schema)),
        None => (schema["type"] == "object").then_some(schema),
    }
}

/// Asserts that `value` has the required members of a schema, and no unknown ones.
fn assert_form(document: &Value, schema: &Value, value: &Value, case: &str) {
    let schema = resolved(document, schema);
    match value {
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| assert_form(document, &schema["items"], item, case));
        }
        Value::Object(members) => {
            let schema = object_schema(document, schema).unwrap_or(schema);
            for (name, member) in members {
                let of_member = &schema["properties"][name];
                assert!(of_member.is_object(), "{case}: {name} is not in {schema}");
                assert_form(document, of_member, member, case);
            }
            let required = schema["required"].as_array().into_iter().flatten();
            let missing: Vec<_> = required
                .filter(|name| !members.contains_key(name.as_str().unwrap()))
                .collect();
            assert!(missing.is_empty(), "{case}: {missing:?} are not in {value}");
        }
        _ => {}
    }
}

/// Each line of `documented.txt` is a request to a route of v1.
#[tokio::test]
async fn bodies_match_the_documented_schemas() {
    for app in apps("").await {
        for line in include_str!("documented.txt").lines() {
            if line.starts_with('#') {
                continue;
            }
            let [template, path, body] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else {
                panic!("{line} has three columns");
            };
            let response = match body.trim() {
                "" => get(&app.router, path.trim()).await,
                body => post(&app.router, path.trim(), body.to_owned()).await,
            };
            let method = if body.trim().is_empty() {
                "get"
            } else {
                "post"
            };
            let operation = &app.document["paths"][template.trim()][method];
            let case = format!("{} {line}", app.name);
            if operation.is_object() {
                assert_documented(&app.document, operation, &response, &case);
            } else {
                assert_eq!(response.status, StatusCode::NOT_FOUND, "{case}");
            }
        }
    }
}

/// Asserts that `operation` describes `response`.
fn assert_documented(document: &Value, operation: &Value, response: &TestResponse, case: &str) {
    let described = resolved(document, &operation["responses"][response.status.as_str()]);
    let content = &described["content"][response.header("content-type").unwrap()];
    assert!(content["schema"].is_object(), "{case}: {response:?}");
    assert_form(document, &content["schema"], &response.json(), case);
}

/// In the scenario, a refund is of a stored purchase.
#[test]
fn each_writing_route_has_its_refusals() {
    let document = include_str!("../../../docs/openapi.json");
    let document: Value = serde_json::from_str(document).unwrap();
    let scenario = include_str!("services/writing_routes.http");
    for (operation, _) in documented(&document) {
        if let Some(path) = operation.strip_prefix("POST ") {
            let path = path.replace("{id}", "00000000-0000-0000-0000-000000000002");
            let request_line = format!("POST http://management{path}\n");
            let refusals = ["408", "413", "415", "429"];
            let count = scenario.matches(&request_line).count();
            assert_eq!(count, refusals.len(), "{operation}: {refusals:?}");
        }
    }
}
