//! `POST /buy`, compared with a bare axum handler that parses and echoes the same JSON.

use std::time::Duration;

use crate::load::{self, Load, Loaded};
use crate::row::{Goal, Row, thousands};
use crate::run::{Pairs, Run};
use crate::scale::{self, Scale};
use crate::server::{EDGE_ONLY, Server};
use crate::usage::{as_f64, median, memory_of, processor_seconds_of};

/// The result of one run: the load, and the cost to the server.
struct Measured {
    loaded: Loaded,
    /// Microseconds of processor time per request.
    processor: f64,
    memory: f64,
}

fn measure(server: &Server, connections: usize, time: Duration) -> Measured {
    let process = server.process();
    let before = processor_seconds_of(&process);
    let load = Load { address: server.address(), connections, time, rate: None };
    let loaded: Loaded = Run::new(load::RUN, &load).in_own_process();
    let processor = (processor_seconds_of(&process) - before) * 1e6 / as_f64(loaded.answered);
    Measured { loaded, processor, memory: memory_of(&process).unwrap().peak }
}

/// Requests per second and processor time per request, with few connections and with many.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let time = Duration::from_millis(scale.pick(100, 1_000, 3_000));
    let connections = scale.pick([4, 8], [64, 512], [64, 512]);
    let brokers = scale::kafka().unwrap_or_default();
    // The topic is not read: one is sufficient for all runs.
    let on_kafka =
        [EDGE_ONLY, ("KAFKA_BOOTSTRAP_SERVERS", &*brokers), ("KAFKA_TOPIC", "shop-bench-http-post")];
    let on_embedded = "embedded log, ingested into the embedded store by the same process";
    // The backend, its settings, and the goals with few connections and with many.
    let mut cases = vec![
        ("embedded log", &on_kafka[..1], [None, Some(0.6)]),
        (on_embedded, &on_kafka[..0], [None, Some(0.6)]),
        ("Kafka", &on_kafka[..], [Some(0.45), Some(0.7)]),
    ];
    if brokers.is_empty() {
        eprintln!("POST /buy on Kafka: skipped, SHOP_TEST_KAFKA is not set");
        cases.pop();
    }
    for (on, settings, goals) in cases {
        for (connections, goal) in connections.into_iter().zip(goals) {
            let ours = || {
                let folder = tempfile::tempdir().unwrap();
                measure(&Server::facing(folder.path(), settings), connections, time)
            };
            let pairs = Pairs::alternate(scale.pairs(), ours, || measure(&Server::echo(), connections, time));
            let what = format!("POST /buy, {on}, {connections} connections");
            let row = pairs.row(&what, |run| run.loaded.per_second, "bare axum echo", show);
            emit(row.with_goal(goal.map(Goal::AtLeast)));
            let what = format!("{what}: processor time of the server");
            let show = |runs: &[Measured]| format!("{:.1} µs", median_of(runs, |run| run.processor));
            let row = pairs.row(what, |run| run.processor, "bare axum echo", show);
            emit(row.with_goal(Goal::AtMost(1.6)));
        }
    }
}

fn median_of(runs: &[Measured], part: fn(&Measured) -> f64) -> f64 {
    median(runs.iter().map(part).collect())
}

fn show(runs: &[Measured]) -> String {
    let of = |part: fn(&Measured) -> f64| median_of(runs, part);
    let (p50, p99) = (of(|run| run.loaded.p50), of(|run| run.loaded.p99));
    let (per_second, memory) = (thousands(of(|run| run.loaded.per_second)), of(|run| run.memory));
    format!("{per_second}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, {memory:.0} MiB")
}
