//! Every route with every scope.

use shop_http::{Role, Scopes};

use crate::document::operations;
use crate::prelude::*;
use crate::shops::SubjectAndScopes;

/// The user of the test: a user number is a user id as well.
const OWN: &str = "1";
const OTHER: &str = "2";

/// Queries of management that need other scopes than their route without them.
const QUERIES: [&str; 4] = [
    "/v1/purchases?everyone=true",
    "/v1/summary?everyone=true",
    "/v1/purchases?username=ada",
    "/v1/summary?reference=r-1",
];

/// A service whose callers have tokens: a user id, and scopes.
struct Guarded {
    router: Router,
    paths: Vec<String>,
}

impl Guarded {
    fn new(parts: Parts) -> Self {
        let routes = routes(parts).authenticate(SubjectAndScopes);
        Self {
            paths: routes.paths(),
            router: routes.build(),
        }
    }

    /// The response to [`OWN`] with `scope`, about a row of `user`.
    async fn send(&self, operation: &(Method, String), user: &str, scope: &str) -> TestResponse {
        let token = format!("{OWN} {scope}");
        call(&self.router, operation, user, Some(&token)).await
    }

    /// Asks whether a request about a row of `user` is allowed with this scope.
    ///
    /// # Errors
    /// How the request is refused.
    async fn check(
        &self,
        operation: &(Method, String),
        user: &str,
        scope: &str,
    ) -> Result<(), &'static str> {
        let response = self.send(operation, user, scope).await;
        let case = format!("{operation:?} of {user} with {scope:?}: {response:?}");
        match response.status.as_u16() {
            200 if operation.1.ends_with(":batch") => {
                let line = &response.json()[0];
                if line["type"] == "/problems/denied" {
                    return Err("the line of the purchase is rejected");
                }
                assert_eq!(line["status"], "acknowledged", "{case}");
                Ok(())
            }
            // So that nobody learns which ids there are.
            404 => Err("404"),
            403 => {
                let challenge = response.header("www-authenticate");
                assert_eq!(
                    challenge,
                    Some(r#"Bearer error="insufficient_scope""#),
                    "{case}"
                );
                let mut scopes = Scopes::ALL.split(' ');
                let is_named = |scope| response.text.contains(&format!("{scope} is required"));
                assert!(scopes.any(is_named), "{case}");
                Err("403")
            }
            // 409 is that of a second refund. These services have no log for events.
            200 | 201 | 202 | 409 | 501 => Ok(()),
            _ => panic!("{case}"),
        }
    }

    /// What an operation requires of a request, in words and as the OpenAPI document says it.
    async fn requirement(&self, operation: &(Method, String)) -> (String, Value) {
        let without_token = call(&self.router, operation, OWN, None).await;
        if without_token.status != StatusCode::UNAUTHORIZED {
            assert!(!without_token.status.is_client_error(), "{operation:?}");
            let observed = self.send(operation, OWN, "observe").await;
            if observed.text == without_token.text {
                return ("nothing".to_owned(), Value::Null);
            }
            assert_eq!(without_token.json().as_object().unwrap().len(), 1);
            let words = "nothing; observe for details".to_owned();
            return (words, json!([{}, {"bearer": []}]));
        }
        let invalid = call(&self.router, operation, OWN, Some("unknown")).await;
        for (response, challenge) in [
            (without_token, "Bearer"),
            (invalid, r#"Bearer error="invalid_token""#),
        ] {
            assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{operation:?}");
            assert_eq!(response.header("www-authenticate"), Some(challenge));
        }
        let words = self.required_scopes(operation).await;
        (words, json!([{"bearer": []}]))
    }

    /// The scopes that allow a request for a row of any user, those that allow it for an own one,
    /// and how it is refused without them.
    async fn required_scopes(&self, operation: &(Method, String)) -> String {
        let Err(refusal) = self.check(operation, OWN, "").await else {
            return "a token".to_owned();
        };
        let mut of_any_row = Vec::new();
        let mut of_own_row = Vec::new();
        for scope in Scopes::ALL.split(' ') {
            let own = self.check(operation, OWN, scope).await;
            let other = self.check(operation, OTHER, scope).await;
            match (own, other) {
                (Ok(()), Ok(())) => of_any_row.push(scope),
                (Ok(()), Err(_)) => of_own_row.push(scope),
                (own, other) => assert!(own.is_err() && other.is_err(), "{operation:?} {scope}"),
            }
        }
        let any = match &of_any_row[..] {
            [] => "no scope is enough".to_owned(),
            scopes => scopes.join(" or "),
        };
        let own = match &of_own_row[..] {
            [] => String::new(),
            scopes => format!(", or {} for own rows", scopes.join(" or ")),
        };
        format!("{any}{own}; else {refusal}")
    }
}

/// Returns the query or the body of a request. Each line of `requests.txt` has those of paths with an end.
fn content_of(method: &Method, path: &str) -> &'static str {
    for line in include_str!("requests.txt").lines() {
        let (operation, content) = line.split_once(" | ").unwrap();
        let (its_method, end_of_path) = operation.split_once(' ').unwrap();
        if its_method == method.as_str() && path.ends_with(end_of_path) {
            return content;
        }
    }
    ""
}

/// Sends a request to a route, for a row or a purchase of `user`.
async fn call(
    router: &Router,
    (method, path): &(Method, String),
    user: &str,
    token: Option<&str>,
) -> TestResponse {
    let id = purchase(user, user.parse().unwrap()).id.to_string();
    let path = path
        .replace("{who}", user)
        .replace("{user_id}", user)
        .replace("{order_id}", user)
        .replace("/problems/{name}", "/problems/invalid")
        .replace("{name}", "page.css")
        .replace("{file}", "swagger-ui.css")
        .replace("{position}", "purchases-0-0")
        .replace("{id}", &id);
    let content = content_of(method, &path)
        .replace("{user}", user)
        .replace("{unique}", &Uuid::now_v7().to_string());
    let (query, body) = if *method == Method::GET {
        (content, String::new())
    } else {
        (String::new(), content)
    };
    let media_type = if path.ends_with(":import") {
        ("content-type", "application/x-ndjson")
    } else {
        JSON
    };
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![media_type];
    if let Some(value) = &authorization {
        headers.push(("authorization", value));
    }
    let path = format!("{path}{query}");
    send(
        router,
        request(method.clone(), &path, &headers, body.to_owned()),
    )
    .await
}

/// The routes by the scopes that they require, with these further roles.
pub(crate) async fn required_scopes(further_roles: &[Arc<dyn Role>]) -> String {
    let roles = AllRoles::default();
    roles.add_rows().await;
    let mut table = String::new();
    for (name, mut parts) in [
        ("facing", roles.facing()),
        ("management", roles.management()),
    ] {
        parts.roles.extend_from_slice(further_roles);
        let service = Guarded::new(parts);
        let document = get(&service.router, "/openapi.json").await.json();
        let mut operations = operations(&service.router, &service.paths).await;
        if name == "management" {
            operations.extend(QUERIES.map(|path| (Method::GET, path.to_owned())));
        }

        let mut operations_by_requirement = BTreeMap::<String, BTreeSet<String>>::new();
        for operation in operations {
            let (requirement, security) = service.requirement(&operation).await;
            let (method, path) = operation;
            let documented = &document["paths"][&path][method.as_str().to_lowercase()];
            if documented.is_object() {
                assert_eq!(documented["security"], security, "{method} {path}");
            }
            operations_by_requirement
                .entry(requirement)
                .or_default()
                .insert(format!("{path} {method}"));
        }
        for (requirement, operations) in operations_by_requirement {
            table.push_str(&format!("{name}: {requirement}\n"));
            for operation in operations {
                let (path, method) = operation.rsplit_once(' ').unwrap();
                table.push_str(&format!("    {method:5}{path}\n"));
            }
            table.push('\n');
        }
    }
    table
}

#[tokio::test]
async fn a_body_is_not_read_before_the_token_is_verified() {
    let service = Guarded::new(AllRoles::default().facing());
    let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
    let headers = [JSON, ("authorization", "Bearer unknown")];
    let endless_body = Body::from_stream(never);
    let buy = request(Method::POST, "/v1/purchases", &headers, endless_body);
    assert_eq!(
        send(&service.router, buy).await.status,
        StatusCode::UNAUTHORIZED
    );
}
