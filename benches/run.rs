//! Runs in child processes with their own processor time and memory, and pairs of runs.

use std::process::{Command, Output};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::row::{Row, Unit};
use crate::usage::Cost;

/// The work of a child process.
#[derive(Debug, Clone)]
pub struct Run {
    /// The name of the work, see [`bench`](mod@crate::bench).
    what: &'static str,
    /// Its argument as JSON.
    argument: String,
}

/// The path of this program, even if it was rebuilt since it started.
pub(crate) const THIS: &str = "/proc/self/exe";

/// The first argument of a child process.
pub(crate) const RUN: &str = "run-one";

impl Run {
    /// The work `what` with `argument`.
    pub fn new(what: &'static str, argument: &impl Serialize) -> Self {
        Self {
            what,
            argument: to_json(argument),
        }
    }

    /// The command that runs this in a child process.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(THIS);
        command.args([RUN, self.what, &self.argument]);
        command
    }

    /// Runs it in a child process and returns its result.
    #[must_use]
    pub fn in_own_process<T: DeserializeOwned>(&self) -> T {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command().output().unwrap();
        assert!(
            status.success(),
            "{self:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
        serde_json::from_slice(&stdout).unwrap()
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// Rounds of several contenders, each in a child process: in order and then in reverse. The two runs of one contender
/// count as one: periodic work of a server, such as garbage collection, then affects all of them. `prepare` is called
/// before each run.
pub fn rounds<R: Serialize, const N: usize>(
    rounds: usize,
    what: &'static str,
    contenders: &[R; N],
    mut prepare: impl FnMut(&R),
) -> [Vec<Cost>; N] {
    let mut measure = |contender: &R| -> Cost {
        prepare(contender);
        Run::new(what, contender).in_own_process()
    };
    let mut costs = [const { Vec::new() }; N];
    for _ in 0..rounds {
        let there = contenders.each_ref().map(&mut measure);
        for (number, there) in there.into_iter().enumerate().rev() {
            costs[number].push(there.and(measure(&contenders[number])));
        }
    }
    costs
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
    pub fn alternate(
        pairs: usize,
        mut ours: impl FnMut() -> T,
        mut baseline: impl FnMut() -> T,
    ) -> Self {
        let (ours, baseline) = (0..pairs).map(|_| (ours(), baseline())).unzip();
        Self { ours, baseline }
    }

    /// Alternates both, `count` times, each in a child process.
    #[must_use]
    pub fn from_runs(pairs: usize, ours: &Run, baseline: &Run) -> Self
    where
        T: DeserializeOwned,
    {
        Self::alternate(
            pairs,
            || ours.in_own_process(),
            || baseline.in_own_process(),
        )
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
        let ratios = self
            .ours
            .iter()
            .zip(&self.baseline)
            .map(|(ours, baseline)| figure(ours) / figure(baseline));
        let row = Row::new(what, ratios.collect(), Unit::Ratio, show(&self.ours));
        Row {
            baseline: format!("{name}, {}", show(&self.baseline)),
            ..row
        }
    }
}
