//! Sizes, numbers of runs, and available servers.

/// The scale of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A smoke test, for `cargo test --benches`.
    Tiny,
    /// A quick measurement, in a few minutes.
    Quick,
    /// The published measurements.
    Full,
}

impl Scale {
    /// The scale of a bench. `cargo test --benches` does not pass `--bench` and only runs a smoke test. `--quick`
    /// selects the quick scale.
    #[must_use]
    pub fn from_env() -> Self {
        match (has_flag("--bench"), has_flag("--quick")) {
            (false, _) => Self::Tiny,
            (true, true) => Self::Quick,
            (true, false) => Self::Full,
        }
    }

    /// The value for this scale.
    #[must_use]
    pub const fn pick<T: Copy>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// The number of pairs of runs: `SHOP_BENCH_PAIRS`, or 1, 3 or 15.
    #[must_use]
    pub fn pairs(self) -> usize {
        let chosen = variable("SHOP_BENCH_PAIRS").and_then(|pairs| pairs.parse().ok());
        chosen
            .filter(|_| self != Self::Tiny)
            .unwrap_or_else(|| self.pick(1, 3, 15))
    }

    /// The number of runs of slow measurements: at most 5, and one at the quick scale.
    #[must_use]
    pub fn long_runs(self) -> usize {
        if self == Self::Full {
            self.pairs().min(5)
        } else {
            1
        }
    }
}

/// Whether this process was started with `flag`.
#[must_use]
pub fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// An environment variable, if it is not empty.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the servers are configured in the environment"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The Kafka brokers, if configured.
#[must_use]
pub fn kafka() -> Option<String> {
    variable("SHOP_TEST_KAFKA")
}

/// The PostgreSQL, if configured.
#[must_use]
pub fn postgres() -> Option<String> {
    variable("SHOP_TEST_POSTGRES_URL")
}

/// The MongoDB, if configured.
#[must_use]
pub fn mongodb() -> Option<String> {
    variable("SHOP_TEST_MONGODB_URI")
}
