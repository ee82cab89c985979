//! The main function of a bench, and of its child processes.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "programs")]
use crate::cases::{freshness, kafka_to_mongodb, kafka_to_postgres, listing, mock_cluster};
use crate::cases::{hot_path, publish};
#[cfg(feature = "programs")]
use crate::load::{self, Load};
use crate::row::Row;
use crate::run::{RUN, to_json};
use crate::scale::{Scale, has_flag};

/// The longest time of a run: a server without memory left can hang for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// Measures, and passes each row on when it is complete.
pub type Measure = fn(Scale, &mut dyn FnMut(Row));

/// The main function of a bench. Prints rows as they complete, with the median of the previous run. With `--json`, each
/// row is a line of JSON.
pub fn main(name: &str, measure: Measure) {
    run_child_if_requested();
    let scale = Scale::from_env();
    let file = std::env::current_exe()
        .unwrap()
        .with_file_name(format!("{name}.rows.json"));
    let before: Vec<Row> = std::fs::read(&file)
        .ok()
        .and_then(|rows| serde_json::from_slice(&rows).ok())
        .unwrap_or_default();
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

/// If this process was started as a child, does its work and exits. Must be the first call of every main function.
pub fn run_child_if_requested() {
    #[cfg(feature = "programs")]
    crate::server::serve_if_requested();
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(RUN) {
        std::thread::spawn(end_late);
        println!(
            "{}",
            execute(&arguments.next().unwrap(), &arguments.next().unwrap())
        );
        std::process::exit(0);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread may wait for a server that hangs"
)]
fn end_late() {
    std::thread::sleep(LONGEST);
    eprintln!("no result after {LONGEST:?}: does a server still answer?");
    std::process::exit(1);
}

/// Does the work of a [`Run`](crate::run::Run), and returns its result as JSON.
fn execute(what: &str, argument: &str) -> String {
    match what {
        hot_path::RUN => with(argument, |(way, records)| hot_path::measure(way, records)),
        publish::RUN => with(argument, |publish: publish::Publish| publish.measure()),
        #[cfg(feature = "programs")]
        mock_cluster::RUN => with(argument, |consume: mock_cluster::Consume| consume.measure()),
        #[cfg(feature = "programs")]
        load::RUN => with(argument, |load: Load| load.run()),
        #[cfg(feature = "programs")]
        freshness::RUN => with(argument, |(store, count)| freshness::inserts(store, count)),
        #[cfg(feature = "programs")]
        listing::RUN => with(argument, |(folder, lookup): (std::path::PathBuf, _)| {
            listing::look(&folder, lookup)
        }),
        #[cfg(feature = "programs")]
        kafka_to_mongodb::RUN => with(argument, |run: kafka_to_mongodb::Ingestion| run.measure()),
        #[cfg(feature = "programs")]
        kafka_to_postgres::RUN => with(argument, |run: kafka_to_postgres::Ingestion| run.measure()),
        unknown => format!("unknown work: {unknown}"),
    }
}

fn with<A: DeserializeOwned, T: Serialize>(argument: &str, work: impl FnOnce(A) -> T) -> String {
    to_json(&work(serde_json::from_str(argument).unwrap()))
}
