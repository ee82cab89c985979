//! From the start of a process to its first answer, its memory when idle, and its size.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::load::{Connection, buy};
use benches::row::{Row, Unit};
use benches::rungs::hot_path::two_threads;
use benches::scale::Scale;
use benches::usage::{Memory, median};
use serde_json::Value;

use crate::programs::Programs;

/// What one start found.
struct Started {
    milliseconds: f64,
    resident: f64,
}

/// Idle means that nothing was asked for so long.
const IDLE: Duration = Duration::from_secs(1);

/// Starts `program` with nothing set but where its files are, in an empty folder, and buys once.
fn start(program: &Path) -> Started {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env_clear().env("PORT", "0").env("LOG_FORMAT", "json").env("SHOP_DATA_DIR", folder.path());
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
        line["http.address"].as_str().map(|address| address.parse().unwrap())
    });
    let address = address.unwrap_or_else(|| panic!("{} does not listen", program.display()));
    let milliseconds = two_threads().block_on(async {
        let mut connection = Connection::open(address).await;
        assert_eq!(connection.send(&buy("ada")).await.status, 201);
        let time = start.elapsed();
        tokio::time::sleep(IDLE).await;
        time.as_secs_f64() * 1_000.0
    });
    let resident = Memory::of(&child.id().to_string()).resident;
    child.kill().unwrap();
    child.wait().unwrap();
    Started { milliseconds, resident }
}

/// `facing` beside the bare axum program.
pub(crate) fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let (facing, bare) = (Programs::facing(), Programs::bare_axum());
    let pair = |_| (start(&facing), start(&bare));
    let (ours, beside): (Vec<_>, Vec<_>) = (0..scale.pairs()).map(pair).unzip();
    let mut row = |what: &str, unit: &str, part: fn(&Started) -> f64| {
        let of = |all: &[Started]| all.iter().map(part).collect::<Vec<_>>();
        let say = |all: &[Started]| format!("{:.1} {unit}", median(&mut of(all)));
        let row = Row::ratios(what, &of(&ours), &of(&beside));
        tell(row.saying(say(&ours), format!("bare axum echo, {}", say(&beside))));
    };
    row("start to first purchase acknowledged, embedded, empty folder", "ms", |started| started.milliseconds);
    row("memory when idle, after one purchase", "MiB", |started| started.resident);
    let [ours, beside] = [&facing, &bare].map(|program| mebibytes(program));
    let row = Row::ratios("size of the program", &[ours], &[beside]);
    tell(row.saying(Unit::Mebibytes.show(ours), format!("bare axum echo, {}", Unit::Mebibytes.show(beside))));
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(program: &Path) -> f64 {
    std::fs::metadata(program).unwrap().len() as f64 / f64::from(1 << 20)
}
