//! Measures all cases on this machine, each compared with its ceiling, and writes the results as Markdown with plots.
//! Missed goals are reported like the others.
//!
//! ```text
//! cargo run --profile dist -p benches --features programs --bin report -- --quick
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

use benches::bench::{self, Measure};
use benches::cases;
use benches::row::Row;
use benches::scale::Scale;
use clap::Parser;

/// The allocator of the measured programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    measure: Measure,
}

const fn part(name: &'static str, title: &'static str, measure: Measure) -> Part {
    Part {
        name,
        title,
        measure,
    }
}

const PARTS: [Part; 16] = [
    part(
        "kafka-to-mongodb",
        "From Kafka into MongoDB",
        cases::kafka_to_mongodb::rows,
    ),
    part(
        "kafka-to-postgres",
        "From Kafka into PostgreSQL",
        cases::kafka_to_postgres::rows,
    ),
    part(
        "hot-path",
        "From the log into the store",
        cases::hot_path::rows,
    ),
    part(
        "mock-cluster",
        "From Kafka's client into nothing",
        cases::mock_cluster::rows,
    ),
    part("publish", "Into the embedded log", cases::publish::rows),
    part("http-post", "POST /buy", cases::http_post::rows),
    part("batch", "POST /v1/purchases:batch", cases::batch::rows),
    part("authentication", "A verified token", |scale, emit| {
        programs::rows("authentication", scale, emit);
    }),
    part(
        "freshness",
        "Until it is in a listing",
        cases::freshness::rows,
    ),
    part("events", "Readers of events", cases::events::rows),
    part("listing", "Listings", cases::listing::rows),
    part("growth", "Among very many", cases::growth::rows),
    part("shop-size", "A shop that grows", cases::shop_size::rows),
    part("allocations", "Allocations", |scale, emit| {
        programs::rows("allocations", scale, emit);
    }),
    part("start", "Start, idle memory, size", start::rows),
    part(
        "resources",
        "The programs as they are started by default",
        resources::rows,
    ),
];

fn main() {
    bench::run_child_if_requested();
    let arguments = Arguments::parse();
    let scale = if arguments.quick {
        Scale::Quick
    } else {
        Scale::Full
    };
    let mut parts = Vec::from(PARTS);
    if let Some(only) = &arguments.only {
        let known = PARTS.map(|part| part.name);
        for name in only.split(',') {
            assert!(
                known.contains(&name),
                "--only {name}: must be one of {}",
                known.join(", ")
            );
        }
        parts.retain(|part| only.split(',').any(|name| name == part.name));
    }
    // Fails early if the file has no markers.
    let file = arguments.write.map(|path| page::File::open(&path));
    let folder = arguments.out.unwrap_or_else(|| {
        std::env::current_exe()
            .unwrap()
            .with_file_name("report-plots")
    });
    std::fs::create_dir_all(&folder).unwrap();
    let mut report = page::head(&conditions::this_machine(scale, arguments.servers));
    for (
        number,
        Part {
            name,
            title,
            measure,
        },
    ) in parts.iter().enumerate()
    {
        eprintln!("[{}/{}] {title}", number + 1, parts.len());
        let mut rows = Vec::new();
        let mut emit = |row: Row| {
            eprintln!("{row}");
            rows.push(row);
        };
        measure(scale, &mut emit);
        let path = folder.join(format!("{name}.svg"));
        if plot::ratios(&path, title, &rows) {
            eprintln!("plotted: {}", path.display());
        }
        report += &page::part(title, &rows);
        // What is measured stays when a later part fails.
        file.iter().for_each(|file| file.write(&report));
    }
    println!("{report}");
}
