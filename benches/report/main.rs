//! Measures everything on this machine, each thing beside its ceiling, and writes what came of it as Markdown, with
//! plots. What falls short of its goal is written like what does not.
//!
//! ```text
//! cargo run --release -p benches --bin report -- --quick
//! ```

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a report that fails says so"
)]

mod conditions;
mod page;
mod plot;
mod programs;
mod start;

use std::path::{Path, PathBuf};

use benches::row::Row;
use benches::run::Run;
use benches::rungs::{Measure, freshness, hot_path, http_post, listing, mock_cluster, publish};
use benches::scale::Scale;
use conf::Conf;

use crate::programs::Programs;

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures purchase tracking on this machine and writes a report as Markdown, to standard output.
///
/// From Kafka and into MongoDB it measures when SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI name them, and says what it
/// skips without. SHOP_BENCH_PAIRS chooses how often each pair is run. Nothing else should run on the machine
/// meanwhile.
#[derive(Debug, Conf)]
struct Arguments {
    /// Small sizes and few runs: a first look in a few minutes
    #[conf(long)]
    quick: bool,
    /// File in which the report takes the place of the one between its two markers
    #[conf(long)]
    write: Option<PathBuf>,
    /// Folder for the plots [default: `report` beside this program]
    #[conf(long)]
    out: Option<PathBuf>,
    /// What stands behind SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI, for the report's conditions
    #[conf(long)]
    servers: Option<String>,
    /// Parts to measure, separated by commas [default: all of them]
    #[conf(long)]
    only: Option<String>,
}

/// A part of the report, with rows of its own.
struct Part {
    name: &'static str,
    title: &'static str,
    measure: Measure,
}

const fn part(name: &'static str, title: &'static str, measure: Measure) -> Part {
    Part { name, title, measure }
}

fn parts() -> Vec<Part> {
    vec![
        part("kafka-to-mongodb", "From Kafka into MongoDB", programs::kafka_to_mongodb),
        part("hot-path", "From the log into the store", hot_path::rows),
        part("mock-cluster", "From Kafka's client into nothing", mock_cluster::rows),
        part("publish", "Into the embedded log", publish::rows),
        part("http-post", "POST /buy", http_post::rows),
        part("freshness", "Until it is in a listing", freshness::rows),
        part("listing", "Listings", listing::rows),
        part("allocations", "Allocations", |_, tell| Programs::allocations().into_iter().for_each(tell)),
        part("start", "Start, idle memory, size", start::rows),
    ]
}

fn main() {
    Run::if_told();
    let arguments = Arguments::parse();
    let scale = if arguments.quick { Scale::Quick } else { Scale::Full };
    let mut parts = parts();
    if let Some(only) = &arguments.only {
        let known: Vec<_> = parts.iter().map(|part| part.name).collect();
        for name in only.split(',') {
            assert!(known.contains(&name), "--only {name}: choose of {}", known.join(", "));
        }
        parts.retain(|part| only.split(',').any(|name| name == part.name));
    }
    // A file that has no place for the report is better known of before.
    let file = arguments.write.map(|path| page::File::open(&path));
    let conditions = conditions::of_this_machine(scale, arguments.servers);
    let count = parts.len();
    let measured: Vec<(&str, Vec<Row>)> = parts
        .iter()
        .enumerate()
        .map(|(number, part)| {
            eprintln!("[{}/{count}] {}", number + 1, part.title);
            (part.title, measured(part, scale))
        })
        .collect();
    let folder = arguments.out.unwrap_or_else(beside_this_program);
    std::fs::create_dir_all(&folder).unwrap();
    for (part, (title, rows)) in parts.iter().zip(&measured) {
        let path = folder.join(format!("{}.svg", part.name));
        if plot::ratios(&path, title, rows) {
            eprintln!("plotted: {}", path.display());
        }
    }
    let report = page::report(&conditions, &measured);
    println!("{report}");
    if let Some(file) = file {
        file.write(&report);
    }
}

fn measured(part: &Part, scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    (part.measure)(scale, &mut |row| {
        eprintln!("{row}");
        rows.push(row);
    });
    rows
}

fn beside_this_program() -> PathBuf {
    std::env::current_exe().unwrap().parent().map(Path::to_owned).unwrap_or_default().join("report")
}
