//! `POST /v1/purchases:batch` with 1,000 purchases per request.

use std::time::Duration;

use super::http_post::{Measured, measure_batches, median_of};
use crate::row::{Goal, Row, Unit, thousands};
use crate::scale::{self, Scale};
use crate::server::{EDGE_ONLY, Server};

/// The number of purchases in a request.
const BATCH: u32 = 1_000;
/// The goal of the processor time of the server, in microseconds per purchase.
const PROCESSOR: f64 = 3.0;

/// Acknowledged purchases per second, and processor time per purchase, in facing.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let time = Duration::from_millis(scale.pick(200, 1_000, 3_000));
    let brokers = scale::kafka().unwrap_or_default();
    // The topic is not read: one is sufficient for all runs.
    let on_kafka = [
        EDGE_ONLY,
        ("KAFKA_BOOTSTRAP_SERVERS", &*brokers),
        ("KAFKA_TOPIC", "shop-bench-batch"),
    ];
    let on_embedded = "embedded log and store";
    let mut cases = vec![
        ("embedded log", &on_kafka[..1], Some(250_000.0)),
        (on_embedded, &on_kafka[..0], None),
        ("Kafka", &on_kafka[..], Some(320_000.0)),
    ];
    if brokers.is_empty() {
        eprintln!("POST /v1/purchases:batch on Kafka: skipped, SHOP_TEST_KAFKA is not set");
        cases.pop();
    }
    for (on, settings, goal) in cases {
        let run = |_| {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::facing(folder.path(), settings);
            measure_batches(&server, 4, time, BATCH as usize)
        };
        let runs: Vec<Measured> = (0..scale.pairs()).map(run).collect();
        let purchases = |run: &Measured| run.loaded.per_second * f64::from(BATCH);
        let processor = |run: &Measured| run.processor / f64::from(BATCH);
        let what = format!("POST /v1/purchases:batch of {BATCH}, {on}, 4 connections");
        let of = |part: fn(&Measured) -> f64| median_of(&runs, part);
        let ours = format!(
            "p50 {:.1} ms, p99 {:.1} ms, {:.0} MiB, {} batches/s",
            of(|run| run.loaded.p50),
            of(|run| run.loaded.p99),
            of(|run| run.memory),
            thousands(of(|run| run.loaded.per_second)),
        );
        let figures = runs.iter().map(purchases).collect();
        emit(Row::new(&*what, figures, Unit::PerSecond, ours).with_goal(goal.map(Goal::AtLeast)));
        let figures = runs.iter().map(processor).collect();
        let what = format!("{what}: processor time per purchase, in µs");
        let goal = goal.map(|_| Goal::AtMost(PROCESSOR));
        emit(Row::new(what, figures, Unit::Each, "").with_goal(goal));
    }
}
