//! `POST /buy`, compared with a bare axum handler that parses and echoes the same JSON, and on Kafka with a naive handler.

use std::time::Duration;

use crate::load::{self, Load, Loaded};
use crate::row::{Goal, Row, thousands};
use crate::run::{Pairs, Run};
use crate::scale::{self, Scale};
use crate::server::{EDGE_ONLY, Server};
use crate::usage::{as_f64, median, memory_of, processor_seconds_of};

/// The result of one run: the load, and the cost to the server.
pub(super) struct Measured {
    pub(super) loaded: Loaded,
    /// Microseconds of processor time per request.
    pub(super) processor: f64,
    pub(super) memory: f64,
}

/// Measures requests of this many purchases.
pub(super) fn measure_batches(
    server: &Server,
    connections: usize,
    time: Duration,
    batch: usize,
) -> Measured {
    measure_load(
        server,
        &Load {
            address: server.address(),
            connections,
            time,
            batch,
            rate: None,
            users: 0,
        },
    )
}

/// Measures `load` on `server`.
pub(super) fn measure_load(server: &Server, load: &Load) -> Measured {
    let process = server.process();
    let before = processor_seconds_of(&process);
    let loaded: Loaded = Run::new(load::RUN, load).in_own_process();
    let processor = (processor_seconds_of(&process) - before) * 1e6 / as_f64(loaded.answered);
    Measured {
        loaded,
        processor,
        memory: memory_of(&process).unwrap().peak,
    }
}

/// The baseline of a comparison.
#[derive(Clone, Copy)]
enum Beside {
    Echo,
    Naive,
    /// Ours with the first setting alone.
    Ours,
}

/// A comparison, with its goals at few connections and at many.
struct Case<'a> {
    on: &'static str,
    settings: &'a [(&'a str, &'a str)],
    /// The number of users, if there are more than connections.
    users: usize,
    beside: Beside,
    rate: [Option<f64>; 2],
    processor: [Option<f64>; 2],
}

impl Case<'_> {
    fn measure(&self, scale: Scale, connections: usize, goals: usize, emit: &mut dyn FnMut(Row)) {
        let time = Duration::from_millis(scale.pick(100, 1_000, 3_000));
        let measure = |server: &Server| {
            let (address, users) = (server.address(), self.users);
            measure_load(
                server,
                &Load {
                    address,
                    connections,
                    time,
                    batch: 1,
                    rate: None,
                    users,
                },
            )
        };
        let facing = |settings| {
            let folder = tempfile::tempdir().unwrap();
            measure(&Server::facing(folder.path(), settings))
        };
        let name = match self.beside {
            Beside::Echo => "bare axum echo",
            Beside::Naive => "naive handler",
            Beside::Ours => "without it",
        };
        let beside = || match self.beside {
            Beside::Echo => measure(&Server::echo()),
            Beside::Naive => measure(&Server::naive(self.settings)),
            Beside::Ours => facing(&self.settings[..1]),
        };
        let pairs = Pairs::alternate(scale.pairs(), || facing(self.settings), beside);
        let users = if self.users > 0 {
            format!(", {} users", self.users)
        } else {
            String::new()
        };
        let what = format!("POST /buy, {}, {connections} connections{users}", self.on);
        let row = pairs.row(&what, |run| run.loaded.per_second, name, show);
        emit(row.with_goal(self.rate[goals].map(Goal::AtLeast)));
        let what = format!("{what}: processor time");
        let show = |runs: &[Measured]| format!("{:.1} µs", median_of(runs, |run| run.processor));
        let row = pairs.row(what, |run| run.processor, name, show);
        emit(row.with_goal(self.processor[goals].map(Goal::AtMost)));
    }
}

/// Requests per second and processor time per request, with few connections and with many.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let brokers = scale::kafka().unwrap_or_default();
    // The topic is not read: one is sufficient for all runs.
    let on_kafka = [
        EDGE_ONLY,
        ("KAFKA_BOOTSTRAP_SERVERS", &*brokers),
        ("KAFKA_TOPIC", "shop-bench-http-post"),
    ];
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &keys,
        format!("till {} purchases:write:any\n", load::KEY_SHA256),
    )
    .unwrap();
    let keys = ("SHOP_API_KEYS_FILE", keys.path().to_str().unwrap());
    let production = [EDGE_ONLY, keys, ("SHOP_ACCESS_LOG", "on")];
    let rated = [EDGE_ONLY, ("SHOP_RATE_WRITES", "1000000")];
    // This dialect logs each purchase.
    let dialect = [EDGE_ONLY, ("SHOP_DIALECT", "purchase-tracking")];
    let case = |on, settings, beside, rate, processor| Case {
        on,
        settings,
        users: 0,
        beside,
        rate,
        processor,
    };
    let with_store = Case {
        users: scale.pick(1_000, 100_000, 100_000),
        ..case(
            "embedded log and store",
            &[],
            Beside::Echo,
            [Some(0.4); 2],
            [Some(2.6); 2],
        )
    };
    let full = "embedded log, API key, access and audit log";
    let mut cases = vec![
        with_store,
        case(full, &production, Beside::Ours, [None; 2], [Some(1.2); 2]),
        case(
            "embedded log, rate limit",
            &rated,
            Beside::Ours,
            [None; 2],
            [None; 2],
        ),
        case(
            "embedded log, purchase lines",
            &dialect,
            Beside::Ours,
            [None; 2],
            [None; 2],
        ),
    ];
    if brokers.is_empty() {
        eprintln!("POST /buy on Kafka: skipped, SHOP_TEST_KAFKA is not set");
    } else {
        let (rate, processor) = ([Some(1.15), Some(1.0)], [Some(1.1), Some(1.2)]);
        cases.push(case("Kafka", &on_kafka, Beside::Naive, rate, processor));
    }
    for case in cases {
        for (goals, connections) in scale
            .pick([4, 8], [64, 512], [64, 512])
            .into_iter()
            .enumerate()
        {
            case.measure(scale, connections, goals, emit);
        }
    }
}

pub(super) fn median_of(runs: &[Measured], part: fn(&Measured) -> f64) -> f64 {
    median(runs.iter().map(part).collect())
}

fn show(runs: &[Measured]) -> String {
    let of = |part: fn(&Measured) -> f64| median_of(runs, part);
    let (p50, p99) = (of(|run| run.loaded.p50), of(|run| run.loaded.p99));
    let (per_second, memory) = (
        thousands(of(|run| run.loaded.per_second)),
        of(|run| run.memory),
    );
    format!("{per_second}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, {memory:.0} MiB")
}
