//! How large and how often, and which servers there are.

/// How large and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Only whether it works: what `cargo test --benches` asks for.
    Tiny,
    /// A first look, in a few minutes.
    Quick,
    /// What is published.
    Full,
}

impl Scale {
    /// That of a bench: `cargo test --benches`, which does not say `--bench`, only checks whether it works. `--quick`
    /// asks for a first look.
    #[must_use]
    pub fn from_env() -> Self {
        match (has_flag("--bench"), has_flag("--quick")) {
            (false, _) => Self::Tiny,
            (true, true) => Self::Quick,
            (true, false) => Self::Full,
        }
    }

    /// What belongs to this scale.
    #[must_use]
    pub const fn pick<T: Copy>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// How many pairs of runs: as `SHOP_BENCH_PAIRS` says, or 1, 3, 15.
    #[must_use]
    pub fn pairs(self) -> usize {
        let chosen = variable("SHOP_BENCH_PAIRS").and_then(|pairs| pairs.parse().ok());
        chosen.filter(|_| self != Self::Tiny).unwrap_or_else(|| self.pick(1, 3, 15))
    }

    /// How many runs of what takes long: at most 5, and one for a first look.
    #[must_use]
    pub fn long_runs(self) -> usize {
        if self == Self::Full { self.pairs().min(5) } else { 1 }
    }
}

/// Whether this process was started with `flag`.
#[must_use]
pub fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// A variable of the environment that is not empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the environment names the servers")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The brokers that a bench may use.
#[must_use]
pub fn kafka() -> Option<String> {
    variable("SHOP_TEST_KAFKA")
}

/// The MongoDB that a bench may use.
#[must_use]
pub fn mongodb() -> Option<String> {
    variable("SHOP_TEST_MONGODB_URI")
}
