//! Measures all cases on this machine, each compared with its ceiling, and writes the results as Markdown with plots.
//! Missed goals are reported like the others.
//!
//! ```text
//! cargo run --profile dist -p benches --bin report -- --quick
//! ```

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a report fails with a panic"
)]

mod conditions;
mod page;
mod plot;
mod programs;
mod resources;
mod start;

use std::path::PathBuf;

use benches::row::Row;
use benches::scale::Scale;
use clap::Parser;

/// Measures purchase tracking on this machine and writes a report as Markdown to standard output
///
/// Kafka, MongoDB and PostgreSQL are measured if SHOP_TEST_KAFKA, SHOP_TEST_MONGODB_URI and SHOP_TEST_POSTGRES_URL are
/// set, and are reported as skipped otherwise. SHOP_BENCH_PAIRS sets the number of pairs of runs. Use an otherwise idle machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Small sizes and few runs: a first look in a few minutes
    #[arg(long)]
    quick: bool,
    /// File whose report between the two markers is replaced
    #[arg(long)]
    write: Option<PathBuf>,
    /// Folder for the plots [default: `report-plots` beside this program]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Description of the servers behind these variables, for the report's conditions
    #[arg(long)]
    servers: Option<String>,
    /// Parts to measure, separated by commas [default: all of them]
    #[arg(long)]
    only: Option<String>,
}

/// A section of the report.
struct Part {
    name: &'static str,
    title: &'static str,
    /// The bench that measures it; `None` for the programs themselves.
    bench: Option<&'static str>,
}

const fn part(name: &'static str, title: &'static str, bench: Option<&'static str>) -> Part {
    Part { name, title, bench }
}

const PARTS: [Part; 15] = [
    part("kafka-to-mongodb", "From Kafka into MongoDB", Some("kafka_to_mongodb")),
    part("kafka-to-postgres", "From Kafka into PostgreSQL", Some("kafka_to_postgres")),
    part("hot-path", "From the log into the store", Some("consume_to_insert")),
    part("mock-cluster", "From Kafka's client into nothing", Some("mock_cluster")),
    part("publish", "Into the embedded log", Some("publish")),
    part("http-post", "POST /buy", Some("http_post")),
    part("batch", "POST /v1/purchases:batch", Some("batch")),
    part("authentication", "A verified token", Some("authentication")),
    part("freshness", "Until it is in a listing", Some("freshness")),
    part("events", "Readers of events", Some("events")),
    part("listing", "Listings", Some("listing")),
    part("growth", "Among very many", Some("growth")),
    part("allocations", "Allocations", Some("allocations")),
    part("start", "Start, idle memory, size", None),
    part("resources", "The programs as they are started by default", None),
];

fn main() {
    let arguments = Arguments::parse();
    let scale = if arguments.quick { Scale::Quick } else { Scale::Full };
    let mut parts = Vec::from(PARTS);
    if let Some(only) = &arguments.only {
        let known = PARTS.map(|part| part.name);
        for name in only.split(',') {
            assert!(known.contains(&name), "--only {name}: must be one of {}", known.join(", "));
        }
        parts.retain(|part| only.split(',').any(|name| name == part.name));
    }
    // Fails early if the file has no markers.
    let file = arguments.write.map(|path| page::File::open(&path));
    let folder =
        arguments.out.unwrap_or_else(|| std::env::current_exe().unwrap().with_file_name("report-plots"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut report = page::head(&conditions::this_machine(scale, arguments.servers));
    for (number, Part { name, title, bench }) in parts.iter().enumerate() {
        eprintln!("[{}/{}] {title}", number + 1, parts.len());
        let mut rows = Vec::new();
        let mut emit = |row: Row| {
            eprintln!("{row}");
            rows.push(row);
        };
        match bench {
            Some(bench) => programs::rows(bench, scale, &mut emit),
            None if *name == "start" => start::rows(scale, &mut emit),
            None => resources::rows(scale, &mut emit),
        }
        let path = folder.join(format!("{name}.svg"));
        if plot::ratios(&path, title, &rows) {
            eprintln!("plotted: {}", path.display());
        }
        report += &page::part(title, &rows);
    }
    println!("{report}");
    if let Some(file) = file {
        file.write(&report);
    }
}
