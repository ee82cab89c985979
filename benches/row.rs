//! What was measured beside what, how far it swung, and whether the goal is reached.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::usage::median;

/// One line of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// One figure for each run or pair of runs, in the order in which they were run.
    pub figures: Vec<f64>,
    /// How many runs, or pairs of runs, that was.
    pub runs: usize,
    /// What the figures are of.
    pub unit: Unit,
    /// What the median is to be, if anything is asked of it.
    pub goal: Option<Goal>,
    /// Our own figures, with their units.
    pub ours: String,
    /// What stands beside it, with its figures. Empty if nothing does.
    pub beside: String,
}

/// What figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Ours by the other's.
    Ratio,
    /// Records, requests, … in a second.
    PerSecond,
    /// Counted, of each record or request.
    Each,
    /// MiB.
    Mebibytes,
}

/// What is asked of a median.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Goal {
    /// It is to reach this.
    AtLeast(f64),
    /// It is not to exceed this.
    AtMost(f64),
}

impl Goal {
    const fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    /// The figure that is asked for.
    #[must_use]
    pub const fn figure(self) -> f64 {
        match self {
            Self::AtLeast(figure) | Self::AtMost(figure) => figure,
        }
    }
}

impl Row {
    /// A row of ratios: each run of ours by the one beside it.
    #[must_use]
    pub fn ratios(what: impl Into<String>, ours: &[f64], beside: &[f64]) -> Self {
        let figures = ours.iter().zip(beside).map(|(ours, beside)| ours / beside).collect();
        Self::figures(what, figures, Unit::Ratio)
    }

    /// A row of figures with nothing beside them.
    #[must_use]
    pub fn figures(what: impl Into<String>, figures: Vec<f64>, unit: Unit) -> Self {
        let (what, runs, nothing) = (what.into(), figures.len(), String::new);
        Self { what, figures, runs, unit, goal: None, ours: nothing(), beside: nothing() }
    }

    /// The same row, with what its median is to be.
    #[must_use]
    pub const fn with_goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// The same row, with the figures themselves.
    #[must_use]
    pub fn saying(mut self, ours: impl Into<String>, beside: impl Into<String>) -> Self {
        (self.ours, self.beside) = (ours.into().trim().to_owned(), beside.into());
        self
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&mut self.figures.clone())
    }

    /// The lowest and the highest figure.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        let fold = |pick: fn(f64, f64) -> f64| self.figures.iter().copied().reduce(pick).unwrap();
        (fold(f64::min), fold(f64::max))
    }

    /// Whether the goal is reached, if there is one.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_reached(self.median()))
    }

    /// The row as one of a Markdown table, below [`TABLE_HEAD`].
    #[must_use]
    pub fn markdown(&self) -> String {
        let (low, high) = self.spread();
        let show = |figure| self.unit.show(figure);
        let spread = if self.runs == 1 { String::new() } else { format!("{} to {}", show(low), show(high)) };
        let (goal, reached) = match (self.goal, self.is_reached()) {
            (Some(goal), Some(reached)) => (self.show(goal), if reached { "reached" } else { "**missed**" }),
            _ => (String::new(), ""),
        };
        let Self { what, runs, ours, beside, .. } = self;
        format!(
            "| {what} | {} | {spread} | {runs} | {goal} | {reached} | {ours} | {beside} |",
            show(self.median())
        )
    }

    fn show(&self, goal: Goal) -> String {
        match goal {
            Goal::AtLeast(least) => format!("≥ {}", self.unit.show(least)),
            Goal::AtMost(most) => format!("≤ {}", self.unit.show(most)),
        }
    }
}

/// The head of the table that [`Row::markdown`] is a row of.
pub const TABLE_HEAD: &str =
    "| what | median | spread | runs | goal | | ours | beside |\n|---|---|---|---|---|---|---|---|";

impl Unit {
    /// The figure with its unit.
    #[must_use]
    pub fn show(self, figure: f64) -> String {
        match self {
            Self::Ratio => format!("{figure:.2}"),
            Self::PerSecond => format!("{}/s", thousands(figure)),
            Self::Each => format!("{figure:.2}"),
            Self::Mebibytes => format!("{figure:.1} MiB"),
        }
    }
}

/// A number without decimals, its thousands set apart.
#[must_use]
pub fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.spread();
        let show = |figure| self.unit.show(figure);
        let Self { what, ours, beside, .. } = self;
        write!(f, "{what}: {} ({} to {})", show(self.median()), show(low), show(high))?;
        if let (Some(goal), Some(reached)) = (self.goal, self.is_reached()) {
            write!(f, ", goal {}: {}", self.show(goal), if reached { "reached" } else { "missed" })?;
        }
        if !ours.is_empty() {
            write!(f, "\n  ours    {ours}")?;
        }
        if !beside.is_empty() {
            write!(f, "\n  beside  {beside}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_goal_is_missed() {
        let row = Row::ratios("publish", &[70.0, 80.0, 90.0], &[100.0, 100.0, 100.0]);
        let row = row.with_goal(Goal::AtLeast(0.85)).saying("80/s", "a bare loop, 100/s");
        assert_eq!(row.is_reached(), Some(false));
        let line = "| publish | 0.80 | 0.70 to 0.90 | 3 | ≥ 0.85 | **missed** | 80/s | a bare loop, 100/s |";
        assert_eq!(row.markdown(), line);
        let row = row.with_goal(Goal::AtMost(0.8));
        assert_eq!(row.is_reached(), Some(true));
        assert_eq!(row.markdown().split('|').count(), TABLE_HEAD.lines().next().unwrap().split('|').count());
    }

    #[test]
    fn thousands_are_set_apart() {
        let texts = [1.0, 999.4, 1_000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["1", "999", "1,000", "1,234,567"]);
    }
}
