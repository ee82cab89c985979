//! The programs that are measured from outside: built, and started.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use benches::row::{Goal, Row, Unit};
use benches::scale::{Scale, kafka, mongodb, variable};
use serde_json::Value;

/// Programs that cargo builds.
pub(crate) struct Programs;

impl Programs {
    pub(crate) fn facing() -> PathBuf {
        built(&["-p", "shop-bins", "--bin", "facing"])
    }

    pub(crate) fn bare_axum() -> PathBuf {
        built(&["-p", "benches", "--bin", "bare_axum"])
    }

    /// What the bench of this name counts.
    pub(crate) fn allocations() -> Vec<Row> {
        let mut command = Command::new(built(&["-p", "benches", "--bench", "allocations"]));
        let said = said(command.arg("--json"));
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Builds a program for use, and answers where it is. Cargo says what it does on standard error.
fn built(what: &[&str]) -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.args(["build", "--release", "--quiet", "--message-format=json-render-diagnostics"]);
    let said = said(command.args(["--manifest-path", manifest]).args(what));
    let name = what.last();
    let executable = said.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        let is_it = name.is_some_and(|name| message["target"]["name"] == *name);
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    executable.unwrap_or_else(|| panic!("cargo has built nothing: {what:?}"))
}

fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} has failed");
    String::from_utf8(output.stdout).unwrap()
}

/// What the bench of this name says, if there are servers for it.
pub(crate) fn kafka_to_mongodb(scale: Scale, tell: &mut dyn FnMut(Row)) {
    if kafka().is_none() || mongodb().is_none() {
        eprintln!("skipped: SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI name no servers");
        return;
    }
    let mut command = Command::new(built(&["-p", "benches", "--bench", "kafka_to_mongodb"]));
    command.arg("--bench").args((scale == Scale::Quick).then_some("--quick"));
    rows_of(&said(&mut command), scale.pairs()).into_iter().for_each(tell);
}

/// The lines of each comparison: what, then three with what runs cost, and three with ratios.
const LINES: usize = 7;

/// Rows from what it prints.
fn rows_of(said: &str, rounds: usize) -> Vec<Row> {
    let lines: Vec<&str> = said.lines().collect();
    lines.chunks_exact(LINES).flat_map(|lines| rows_of_one(lines, rounds)).collect()
}

fn rows_of_one(lines: &[&str], rounds: usize) -> [Row; 4] {
    let what = lines[0].split(", medians").next().unwrap_or_default();
    let behind = |name: &str| {
        let found = lines.iter().find_map(|line| line.trim().strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name}: {lines:?}")).trim()
    };
    let (ours, bare, naive) = (behind("pipeline"), behind("bare insert_many"), behind("naive loop"));
    let row = |what: String, ratio: &str, beside: String| {
        let numbers = behind(ratio).split(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let figures: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
        let mut row = Row::ratios(what, &figures, &[1.0; 3]);
        row.runs = rounds;
        row.saying(ours, beside)
    };
    let beside_naive = || format!("naive loop, {naive}");
    let memory = ours.trim_end_matches(" MiB").rsplit(' ').next().and_then(|text| text.parse().ok());
    let memory = Row::figures(format!("{what}: peak memory"), vec![memory.unwrap()], Unit::Mebibytes);
    [
        row(what.to_owned(), "rate by bare", format!("bare insert_many, {bare}"))
            .with_goal(Goal::AtLeast(0.95)),
        row(format!("{what}: rate beside a naive loop"), "rate by naive", beside_naive()),
        row(format!("{what}: processor time beside a naive loop"), "work by naive", beside_naive())
            .with_goal(Goal::AtMost(1.25)),
        memory.with_goal(Goal::AtMost(100e6 / f64::from(1 << 20))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_to_mongodb_prints_is_read() {
        let said = "Kafka to MongoDB, 5 partitions, 300000 records, medians of 15 rounds
  pipeline           182000/s, 0.31 s of processor per 100,000,  74 MiB
  bare insert_many   203000/s, 0.20 s of processor per 100,000,  90 MiB
  naive loop         110000/s, 0.30 s of processor per 100,000,  60 MiB
  rate by bare      0.90 (0.81 to 0.97)
  rate by naive     1.65 (1.50 to 1.70)
  work by naive     1.03 (1.00 to 1.10)
";
        let rows = rows_of(said, 15);
        let [ratio, by_naive, work, memory] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((ratio.median(), ratio.spread(), ratio.runs), (0.9, (0.81, 0.97), 15));
        assert_eq!(
            (ratio.is_reached(), ratio.what.as_str()),
            (Some(false), "Kafka to MongoDB, 5 partitions, 300000 records")
        );
        assert_eq!((by_naive.median(), work.median(), work.is_reached()), (1.65, 1.03, Some(true)));
        assert_eq!((memory.median(), memory.is_reached()), (74.0, Some(true)));
    }
}
