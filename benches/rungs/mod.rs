//! What is measured, a module each. Each answers rows, and says what it skips.

pub mod freshness;
pub mod hot_path;
pub mod http_post;
pub mod listing;
pub mod mock_cluster;
pub mod publish;

use crate::row::Row;
use crate::run::Run;
use crate::scale::Scale;

/// Measures, and tells each row when it has it.
pub type Measure = fn(Scale, &mut dyn FnMut(Row));

/// The whole of a bench: its rows, printed as they come.
pub fn main(name: &str, rows: Measure) {
    Run::if_told();
    let scale = Scale::of_bench();
    rows(scale, &mut |row| {
        // Figures of so little mean nothing.
        if scale == Scale::Tiny { println!("{name}, {}: works", row.what) } else { println!("{row}") }
    });
}
