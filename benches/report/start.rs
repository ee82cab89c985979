//! The time from the start of a process to its first response, its idle memory, and its size.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use benches::cases::two_threads;
use benches::load::{Connection, buy};
use benches::row::{Row, Unit};
use benches::run::Pairs;
use benches::scale::Scale;
use benches::server::{Server, with_files_in};
use benches::usage::{as_f64, median, memory_of};

use crate::programs::built;

/// The result of one start.
struct Started {
    milliseconds: f64,
    resident: f64,
}

/// The time without requests after which a process counts as idle.
const IDLE: Duration = Duration::from_secs(1);

/// Starts `program` with default settings in an empty folder, and buys once.
fn start(program: &Path) -> Started {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let server = Server::start(with_files_in(
        folder.path(),
        Command::new(program).env_clear(),
    ));
    let milliseconds = two_threads().block_on(async {
        let mut connection = Connection::open(server.address()).await;
        assert_eq!(connection.send(&buy("ada")).await.status, 201);
        let time = start.elapsed();
        tokio::time::sleep(IDLE).await;
        time.as_secs_f64() * 1_000.0
    });
    Started {
        milliseconds,
        resident: memory_of(&server.process()).unwrap().resident,
    }
}

/// Compares `facing` with the bare axum program.
pub(crate) fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let facing = built(&["-p", "shop-bins", "--bin", "facing"]);
    let bare = built(&[
        "-p",
        "benches",
        "--features",
        "programs",
        "--bin",
        "bare_axum",
    ]);
    let pairs = Pairs::alternate(scale.pairs(), || start(&facing), || start(&bare));
    let mut row = |what: &str, unit: &str, part: fn(&Started) -> f64| {
        let show =
            |all: &[Started]| format!("{:.1} {unit}", median(all.iter().map(part).collect()));
        emit(pairs.row(what, part, "bare axum echo", show));
    };
    row(
        "start to first purchase acknowledged, embedded, empty folder",
        "ms",
        |started| started.milliseconds,
    );
    row("memory when idle, after one purchase", "MiB", |started| {
        started.resident
    });
    let [ours, baseline] = [facing, bare].map(|program| {
        vec![as_f64(std::fs::metadata(program).unwrap().len()) / f64::from(1 << 20)]
    });
    let show = |sizes: &[f64]| Unit::Mebibytes.show(sizes[0]);
    emit(Pairs { ours, baseline }.row("size of the program", |size| *size, "bare axum echo", show));
}
