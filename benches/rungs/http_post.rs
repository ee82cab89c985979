//! `POST /buy`, beside a bare axum handler that parses and echoes the same JSON.

use std::time::Duration;

use crate::load::{Load, Loaded};
use crate::row::{Goal, Row, thousands};
use crate::run::Run;
use crate::scale::{self, Scale};
use crate::server::{Log, Served, Server, alone};
use crate::usage::median;

/// One run: what the connections got, and what it cost the server.
struct Measured {
    loaded: Loaded,
    /// Microseconds of processor time for each request.
    processor: f64,
    memory: f64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn measure(served: Served, connections: usize, time: Duration) -> Measured {
    let server = Server::start(served);
    let before = server.processor_seconds();
    let load = Load { address: server.address(), connections, time, rate: None };
    let loaded: Loaded = Run::Load(load).in_own_process();
    let processor = (server.processor_seconds() - before) * 1e6 / loaded.answered as f64;
    Measured { loaded, processor, memory: server.memory().peak }
}

/// What `facing` is measured on, each time anew.
struct On {
    what: &'static str,
    served: Box<dyn Fn(&std::path::Path) -> Served>,
    /// With 64 connections, and with 512.
    goals: [Option<f64>; 2],
}

fn all_there_is() -> Vec<On> {
    let log_only =
        |folder: &std::path::Path| Served::Facing { log: Log::Embedded(folder.to_owned()), store: None };
    let mut all = vec![
        On { what: "embedded log", served: Box::new(log_only), goals: [None, Some(0.6)] },
        On {
            what: "embedded log, carried into the embedded store by the same process",
            served: Box::new(alone),
            goals: [None, Some(0.6)],
        },
    ];
    match scale::kafka() {
        Some(brokers) => all.push(On {
            what: "Kafka",
            served: Box::new(move |_| {
                // Nobody reads it: one topic will do for all runs.
                let log = Log::Kafka(brokers.clone(), "shop-bench-http-post".to_owned());
                Served::Facing { log, store: None }
            }),
            goals: [Some(0.45), Some(0.7)],
        }),
        None => eprintln!("POST /buy on Kafka: skipped, SHOP_TEST_KAFKA names no brokers"),
    }
    all
}

/// Requests in a second, and processor time for each, with few connections and with many.
pub fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let time = Duration::from_millis(scale.pick(100, 1_000, 3_000));
    let connections = scale.pick([4, 8], [64, 512], [64, 512]);
    for on in all_there_is() {
        for (connections, goal) in connections.into_iter().zip(on.goals) {
            let pair = |_| {
                let folder = tempfile::tempdir().unwrap();
                let ours = measure((on.served)(folder.path()), connections, time);
                (ours, measure(Served::Echo, connections, time))
            };
            let (ours, echo): (Vec<_>, Vec<_>) = (0..scale.pairs()).map(pair).unzip();
            let of = |all: &[Measured], part: fn(&Measured) -> f64| all.iter().map(part).collect::<Vec<_>>();
            let per_second = |all: &[Measured]| of(all, |one| one.loaded.per_second);
            let processor = |all: &[Measured]| of(all, |one| one.processor);
            let what = format!("POST /buy, {}, {connections} connections", on.what);
            let row = Row::ratios(&what, &per_second(&ours), &per_second(&echo));
            let row = goal.map_or(row.clone(), |goal| row.with_goal(Goal::AtLeast(goal)));
            tell(row.saying(say(&ours), format!("bare axum echo, {}", say(&echo))));
            let microseconds = |all: &[Measured]| format!("{:.1} µs", median(&mut processor(all)));
            tell(
                Row::ratios(
                    format!("{what}: processor time of the server"),
                    &processor(&ours),
                    &processor(&echo),
                )
                .with_goal(Goal::AtMost(1.6))
                .saying(microseconds(&ours), format!("bare axum echo, {}", microseconds(&echo))),
            );
        }
    }
}

fn say(all: &[Measured]) -> String {
    let of = |part: fn(&Measured) -> f64| median(&mut all.iter().map(part).collect::<Vec<_>>());
    let (p50, p99) = (of(|one| one.loaded.p50), of(|one| one.loaded.p99));
    let (per_second, memory) = (of(|one| one.loaded.per_second), of(|one| one.memory));
    format!("{}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, {memory:.0} MiB", thousands(per_second))
}
