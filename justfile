# The commands of CONTRIBUTING.md. `just` lists them; https://just.systems

[private]
default:
    @just --list --unsorted

# Format, lints, and the tests that need no servers.
quick:
    .ci/run quick

# Tests of one crate, e.g. `just test shop-core ingest`.
test package *filter:
    cargo test -p {{ package }} {{ filter }}

# Tests that start the programs, by a part of their name; each is ended after two minutes (needs cargo-nextest).
processes *filter:
    cargo nextest run -p system-tests --test processes {{ filter }}

# Accepts the responses of the scenarios of the HTTP API as they are now. Read the difference before you commit it.
accept *filter:
    INSTA_UPDATE=always cargo test -p shop-http -p shop-accounts -p shop-compat --test http {{ filter }}
    git diff --stat -- '*.snap'

# Everything that continuous integration runs.
ci:
    .ci/run

# Steps of it, e.g. what has failed: `just only surface processes`.
only *steps:
    .ci/run only {{ steps }}

# The scenes on clusters, with real servers that are started here: all, or those with this part of a name.
clusters filter="clusters":
    SHOP_TEST_CLUSTERS=1 TEST_SERVERS=$PWD/.ci/servers cargo test -p system-tests --test processes -- {{ filter }} --nocapture

# The simulation of the embedded shop, under many seeds.
simulate seeds="500":
    cargo run --release --manifest-path sim/Cargo.toml -- --seeds {{ seeds }}

# The public items of the libraries, as text to be reviewed.
api:
    .ci/surface --write

# Changes that no test notices, in the critical files of a library, e.g. `just mutants shop-core --re retention.rs` (needs
# cargo-mutants).
mutants library *options:
    .ci/mutants {{ library }} {{ options }}

# Links between pages, and spelling.
texts:
    .ci/text links
    .ci/text typos

# What the build must not exceed, and what it has.
budget:
    .ci/count crates
