//! The main function of a bench, runs in child processes with their own processor time and memory, and pairs of runs.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cases::{freshness, hot_path, kafka_to_mongodb, listing, mock_cluster, publish};
use crate::load::Load;
use crate::row::{Row, Unit};
use crate::scale::{Scale, has_flag};
use crate::server;

/// Measures, and passes each row on when it is complete.
pub type Measure = fn(Scale, &mut dyn FnMut(Row));

/// The main function of a bench. Prints rows as they complete, with the median of the previous run. With `--json`, each
/// row is a line of JSON.
pub fn main(name: &str, measure: Measure) {
    run_child_if_requested();
    let scale = Scale::from_env();
    let file = std::env::current_exe().unwrap().with_file_name(format!("{name}.rows.json"));
    let before: Vec<Row> =
        std::fs::read(&file).ok().and_then(|rows| serde_json::from_slice(&rows).ok()).unwrap_or_default();
    let mut rows = Vec::new();
    measure(scale, &mut |row| {
        match before.iter().find(|before| before.what == row.what) {
            // Figures at this scale are meaningless.
            _ if scale == Scale::Tiny => println!("{name}, {}: works", row.what),
            _ if has_flag("--json") => println!("{}", to_json(&row)),
            Some(before) => println!("{row}\n  previous  {}", row.unit.show(before.median())),
            None => println!("{row}"),
        }
        rows.push(row);
    });
    if scale != Scale::Tiny {
        std::fs::write(file, to_json(&rows)).unwrap();
    }
}

/// The work of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Run {
    /// Ingests this many records, or runs the ceiling.
    HotPath(hot_path::Way, u64),
    /// Reads a topic.
    Consume(mock_cluster::Consume),
    /// Publishes into a log.
    Publish(publish::Publish),
    /// Sends requests.
    Load(Load),
    /// Sequentially inserts this many purchases.
    Inserts(freshness::Store, u64),
    /// Reads a store in a folder.
    Lookups(PathBuf, listing::Lookup),
    /// Ingests from Kafka into MongoDB, or inserts without ingest.
    KafkaToMongodb(kafka_to_mongodb::Run),
}

/// The path of this program, even if it was rebuilt since it started.
pub(crate) const THIS: &str = "/proc/self/exe";

/// The first argument of a child process.
const RUN: &str = "run-one";

/// If this process was started as a child, does its work and exits. Must be the first call of every main function.
pub fn run_child_if_requested() {
    server::serve_if_requested();
    let mut arguments = std::env::args().skip(1);
    if let (Some(RUN), Some(run)) = (arguments.next().as_deref(), arguments.next()) {
        println!("{}", serde_json::from_str::<Run>(&run).unwrap().execute());
        std::process::exit(0);
    }
}

impl Run {
    fn execute(self) -> String {
        match self {
            Self::HotPath(way, records) => to_json(&hot_path::measure(way, records)),
            Self::Consume(consume) => to_json(&consume.measure()),
            Self::Publish(publish) => to_json(&publish.measure()),
            Self::Load(load) => to_json(&load.run()),
            Self::Inserts(store, count) => to_json(&freshness::inserts(store, count)),
            Self::Lookups(folder, lookup) => to_json(&listing::look(&folder, lookup)),
            Self::KafkaToMongodb(run) => to_json(&run.measure()),
        }
    }

    /// The command that runs this in a child process.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(THIS);
        command.arg(RUN).arg(to_json(self));
        command
    }

    /// Runs it in a child process and returns its result.
    #[must_use]
    pub fn in_own_process<T: DeserializeOwned>(&self) -> T {
        let Output { status, stdout, stderr } = self.command().output().unwrap();
        assert!(status.success(), "{self:?}: {}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).unwrap()
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// Runs of ours, each paired with one of the baseline.
#[derive(Debug, Clone)]
pub struct Pairs<T> {
    /// Our runs.
    pub ours: Vec<T>,
    /// Runs of the baseline.
    pub baseline: Vec<T>,
}

impl<T> Pairs<T> {
    /// Alternates both, `count` times.
    pub fn alternate(pairs: usize, mut ours: impl FnMut() -> T, mut baseline: impl FnMut() -> T) -> Self {
        let (ours, baseline) = (0..pairs).map(|_| (ours(), baseline())).unzip();
        Self { ours, baseline }
    }

    /// Alternates both, `count` times, each in a child process.
    #[must_use]
    pub fn from_runs(pairs: usize, ours: &Run, baseline: &Run) -> Self
    where
        T: DeserializeOwned,
    {
        Self::alternate(pairs, || ours.in_own_process(), || baseline.in_own_process())
    }

    /// A row of ratios: `figure` of each of our runs divided by that of the baseline, which is called `name`. `show`
    /// formats all runs of one of the two.
    pub fn row(
        &self,
        what: impl Into<String>,
        figure: impl Fn(&T) -> f64,
        name: &str,
        show: impl Fn(&[T]) -> String,
    ) -> Row {
        let ratios =
            self.ours.iter().zip(&self.baseline).map(|(ours, baseline)| figure(ours) / figure(baseline));
        let row = Row::new(what, ratios.collect(), Unit::Ratio, show(&self.ours));
        Row { baseline: format!("{name}, {}", show(&self.baseline)), ..row }
    }
}
