//! First pages, summaries and whole listings of very many purchases, beside those of few.
//!
//! ```text
//! cargo bench --bench listing
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs, 15 unless set. Nothing else should run on the machine meanwhile.

fn main() {
    benches::rungs::main("listing", benches::rungs::listing::rows);
}
