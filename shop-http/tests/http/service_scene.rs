//! The services that the scenarios of operators and embedders send requests to.

use std::collections::HashMap;

use axum::extract::{ConnectInfo, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use shop_core::ingest::{Component, DeadLetterLimit, Phase};
use shop_core::log::Lag;
use shop_http::{Action, ApiKeys, Authorize, Decision, Role, RoleState, RouteGroup, RouterBuilder};
use tower_http::cors::CorsLayer;

use crate::broken_ports;
use crate::log_lines::LogLines;
use crate::prelude::*;
use crate::scenario::Scene;
use crate::shops::{SubjectAndScopes, options, purchases, set_fault};

/// Both services with all roles, built as the directives say.
#[derive(Default)]
pub(crate) struct Services {
    roles: AllRoles,
    /// The options, and the settings of further roles.
    settings: String,
    changes_of_parts: Vec<String>,
    guard: String,
    left_out: Option<RouteGroup>,
    mount: String,
    /// By name. A directive that changes how routers are built removes them.
    built: HashMap<String, Router>,
    log_lines: Option<LogLines>,
}

impl Scene for Services {
    /// `facing`, `management`, and the two listeners of a management with an own one for operators: `public` and `admin`.
    async fn service(&mut self, host: &str) -> Router {
        if !self.built.contains_key(host) {
            self.built.insert(host.to_owned(), self.build(host));
        }
        self.built[host].clone()
    }

    /// These change how services are built:
    /// - `options NAME=VALUE ...`
    /// - `guard HOW`, see [`guarded`]; `parts WHAT`, see [`change_parts`], and `parts as before`
    /// - `without GROUP` or `without nothing`; `nest PREFIX` and `nest-service PREFIX` mount the routes in another router
    ///
    /// These change what is behind them:
    /// - `stored USER NUMBERS ...` stores purchases, `rows` adds purchases, accounts, orders and dead letters of the users
    ///   `1` and `2`
    /// - `fault CALL FAULT` is in force until `fault CALL none`
    /// - `publish USER NUMBERS ...` publishes purchases to the log, `append COUNT VALUE` appends any records
    /// - `dead-letter-limit COUNT` in a row stop ingest
    /// - `ingest` starts ingest, `await STATE` waits for a state of it, see [`Services::wait_for`]; `another-member`
    ///   starts ingest of another process in the same group
    /// - `progress LAG POSITION` of ingest is noted for the last hour in `/health`
    /// - `advance SECONDS`
    ///
    /// And these show something: `metrics SERVICE PREFIX ...` the series with these beginnings, `log TARGET ...` the lines
    /// of the log with these targets, below each response.
    async fn direct(&mut self, name: &str, argument: &str) -> Option<String> {
        match name {
            "metrics" => return Some(self.series(argument).await),
            "stored" => {
                let stored = self.roles.store.insert(purchases(argument).into()).await;
                drop(stored.unwrap());
            }
            "publish" => {
                for purchase in purchases(argument) {
                    self.roles.log.sink().publish(&purchase).await.unwrap();
                }
            }
            "rows" => self.roles.add_rows().await,
            "fault" => set_fault(&self.roles.faults, argument),
            "append" => self.append(argument),
            "dead-letter-limit" => {
                let mut options = IngestOptions::default();
                options.dead_letter_limit = DeadLetterLimit::consecutive(argument.parse().unwrap());
                self.roles = AllRoles::with_ingest_options(options);
            }
            "ingest" => drop(self.roles.start()),
            "another-member" => {
                let monitor = self.roles.start_another_member();
                monitor.wait_for(|status| status.in_flight > 0).await;
            }
            "await" => self.wait_for(argument).await,
            "progress" => {
                let (lag, position) = argument.split_once(' ').unwrap();
                let [lag, position] = [lag, position].map(|number| (0, number.parse().unwrap()));
                let lag = Lag::new("purchases".into(), "group".to_owned(), [lag].into());
                self.roles.metrics.note_progress(&lag, [position].into());
            }
            "advance" => tokio::time::advance(Duration::from_secs(argument.parse().unwrap())).await,
            "log" => self.log_lines = Some(LogLines::of_this_thread(argument)),
            _ => {
                self.built.clear();
                self.change_build(name, argument);
            }
        }
        None
    }

    fn take_log(&mut self) -> String {
        match &self.log_lines {
            None => String::new(),
            Some(lines) => lines.take_shown(),
        }
    }
}

impl Services {
    fn change_build(&mut self, name: &str, argument: &str) {
        match name {
            "options" => argument.clone_into(&mut self.settings),
            "parts" if argument == "as before" => self.changes_of_parts.clear(),
            "parts" => self.changes_of_parts.push(argument.to_owned()),
            "guard" => argument.clone_into(&mut self.guard),
            "without" => {
                let named =
                    |group: &RouteGroup| format!("{group:?}").eq_ignore_ascii_case(argument);
                self.left_out = RouteGroup::ALL.into_iter().find(named);
            }
            "nest" | "nest-service" => self.mount = format!("{name} {argument}"),
            _ => panic!("there is no directive {name}"),
        }
    }

    fn build(&self, host: &str) -> Router {
        let mut parts = match host {
            "facing" => self.roles.facing(),
            "management" | "public" | "admin" => self.roles.management(),
            _ => panic!("there is no service {host}"),
        };
        for change in &self.changes_of_parts {
            change_parts(&mut parts, change, &self.roles);
        }
        let mut settings = self.settings.split_whitespace().collect();
        parts.roles.extend(crate::take_roles(&mut settings));
        let builder = routes(parts)
            .options(options(&settings.join(" ")))
            .without(self.left_out);
        let built = match host {
            "public" => builder.build_with_admin().0,
            "admin" => builder.build_with_admin().1,
            _ => guarded(builder, &self.guard),
        };
        let mounted = match self.mount.split_once(' ') {
            Some(("nest", prefix)) => Router::new().nest(prefix, built),
            Some((_, prefix)) => Router::new().nest_service(prefix, built),
            None => built,
        };
        mounted.layer(from_fn(connect_from))
    }

    /// The series of a service with one of these beginnings.
    async fn series(&mut self, argument: &str) -> String {
        let mut words = argument.split(' ');
        let service = self.service(words.next().unwrap()).await;
        let beginnings: Vec<_> = words.collect();
        let prefix = self.mount.split_once(' ').unwrap_or_default().1;
        let operator = [("authorization", "Bearer operator observe any")];
        let path = format!("{prefix}/metrics");
        let scrape = request(Method::GET, &path, &operator, Body::empty());
        let metrics = send(&service, scrape).await;
        let mut shown: Vec<_> = metrics
            .text
            .lines()
            .filter(|line| {
                beginnings
                    .iter()
                    .any(|beginning| line.starts_with(beginning))
            })
            .map(rounded)
            .collect();
        shown.sort();
        format!("\n{}", shown.join("\n"))
    }

    /// `append 3 poison` appends three such records.
    fn append(&self, argument: &str) {
        let (count, value) = argument.split_once(' ').unwrap();
        for _ in 0..count.parse().unwrap() {
            let value = value.to_owned().into_bytes();
            drop(
                self.roles
                    .log
                    .append(LogRecord::new(0, Timestamp::MIN, Some(value.into()))),
            );
        }
    }

    /// Waits until ingest is in the state.
    async fn wait_for(&self, state: &str) {
        if state == "no lag" {
            while self.roles.monitor.lag().await.unwrap().total() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return;
        }
        let has_error =
            |error: Option<&Error>, kind| error.is_some_and(|error| error.kind() == kind);
        self.roles
            .monitor
            .wait_for(|status| match state {
                "running" => status.phase == Phase::Running,
                "stopped" => status.phase == Phase::Stopped,
                "errors" => !status.errors.is_empty(),
                "source denied" => {
                    has_error(status.errors.get(&Component::Source), ErrorKind::Denied)
                }
                "3 retries" => status.retries.values().sum::<u64>() == 3,
                "stuck" => status.stuck.is_some(),
                "in flight" => status.in_flight > 0,
                "inserted 1" => status.counters.inserted == 1,
                "inserted 2" => status.counters.inserted == 2,
                "nothing uncommitted" => status.oldest_uncommitted.values().all(Option::is_none),
                _ => panic!("there is no state {state}"),
            })
            .await;
    }
}

/// Returns a series with at most one digit of a value that has a fraction: it differs from run to run.
fn rounded(series: &str) -> String {
    let (name, value) = series.rsplit_once(' ').unwrap();
    match value.split_once('.') {
        None => series.to_owned(),
        Some(("0", _fraction)) => format!("{name} less than 1"),
        Some((whole, _fraction)) => {
            let (first_digit, others) = whole.split_at(1);
            format!("{name} at least {first_digit}{}", "0".repeat(others.len()))
        }
    }
}

/// The header `x-peer` stands for the address of the client.
async fn connect_from(mut request: Request, next: Next) -> Response {
    if let Some(peer) = request.headers_mut().remove("x-peer") {
        let peer: SocketAddr = peer.to_str().unwrap().parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    next.run(request).await
}

/// Builds routes with an authentication and a policy:
/// - `tokens`: a token is a subject and its scopes
/// - `api-key SCOPES USER`: the token `secret` is the API key `night` of this user; without a user, it is that of a service
/// - `policy`: an authentication and a policy of the embedder; a token is a subject, or a subject and `any`
/// - `policy-without-authentication`
/// - `outer-layer`: the authentication of the embedder is around the routes; `outer-layer-in-cors`: with CORS around it
/// - `bare-responses`: a layer of the embedder replaces each response by its status and its body
fn guarded(builder: RouterBuilder, guard: &str) -> Router {
    let (guard, argument) = guard.split_once(' ').unwrap_or((guard, ""));
    match guard {
        "" => builder.build(),
        "tokens" => builder.authenticate(SubjectAndScopes).build(),
        "api-key" => {
            let key = format!("night {SHA256_OF_SECRET} {argument}");
            builder.authenticate(ApiKeys::parse(&key).unwrap()).build()
        }
        "policy" => builder
            .authorize(OwnOnly)
            .auth_layer(from_fn(authenticate))
            .build(),
        "policy-without-authentication" => builder.authorize(OwnOnly).build(),
        "outer-layer" => builder.build().layer(from_fn(authenticate)),
        "outer-layer-in-cors" => builder
            .build()
            .layer(from_fn(authenticate))
            .layer(CorsLayer::very_permissive()),
        "bare-responses" => builder.auth_layer(from_fn(answer_bare)).build(),
        _ => panic!("there is no guard {guard}"),
    }
}

const SHA256_OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// Authentication of an embedder. A token is a subject, or a subject and scopes.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|token| token.to_str().ok())
        .ok_or(StatusCode::UNAUTHORIZED)?;
    let mut words = token.split(' ');
    let principal = Principal::new(words.next().unwrap_or_default()).with_scopes(words);
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

/// Authentication of an embedder that removes what our layers have added to the response.
async fn answer_bare(mut request: Request, next: Next) -> Response {
    let token = &request.headers()[header::AUTHORIZATION];
    let principal = Principal::new(token.to_str().unwrap());
    request.extensions_mut().insert(principal);
    let response = next.run(request).await;
    (response.status(), response.into_body()).into_response()
}

/// A policy of an embedder.
#[derive(Debug)]
struct OwnOnly;

impl Authorize for OwnOnly {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        let is_own = action
            .user_id()
            .is_some_and(|user| principal.subject() == Some(user.as_str()));
        if is_own || principal.has_scope("any") {
            Decision::Allow
        } else {
            Decision::deny("only your own")
        }
    }
}

/// Changes the parts of both services:
/// - `ingest`: facing has ingest as well
/// - `no-ingest`: nobody has ingest
/// - `local log`, `local store`, `local log and store`: these are files of this machine
/// - `log without faults`: faults are those of the store alone
/// - `hanging role`: a role whose store never answers
/// - `log failing`: lines of the log cannot be written
/// - `partition without leader`: the log has one, and has lost acknowledged records
/// - `panicking query`, `panicking log`, `panicking clock`; `endless query`: each page has a next one
fn change_parts(parts: &mut Parts, change: &str, roles: &AllRoles) {
    let purchases = parts.purchases.as_mut().unwrap();
    match change {
        "ingest" => purchases.ingest = Some(roles.monitor.clone()),
        "no-ingest" => purchases.ingest = None,
        "local log" => purchases.has_local_log = true,
        "local store" => purchases.has_local_store = true,
        "local log and store" => {
            purchases.has_local_log = true;
            purchases.has_local_store = true;
        }
        "hanging role" => parts.roles.push(Arc::new(Vouchers)),
        "log failing" => parts
            .metrics
            .count_dropped_lines(Arc::default(), Arc::new(true.into())),
        "partition without leader" => {
            purchases.sink = Some(Arc::new(broken_ports::InCluster::default()));
        }
        "log without faults" => purchases.sink = Some(Arc::new(roles.log.sink())),
        "panicking query" => purchases.query = Some(Arc::new(broken_ports::Panics)),
        "panicking log" => purchases.sink = Some(Arc::new(broken_ports::Panics)),
        "panicking clock" => parts.clock = Arc::new(broken_ports::Panics),
        "endless query" => purchases.query = Some(Arc::new(broken_ports::NeverEnds)),
        _ => panic!("there are no parts {change}"),
    }
}

/// A role whose store never answers.
#[derive(Debug)]
struct Vouchers;

impl Role for Vouchers {
    fn states(&self) -> Vec<RoleState<'_>> {
        vec![RoleState::new("vouchers", std::future::pending())]
    }
}
