//! A measurement with its baseline, spread and goal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::usage::median;

/// One row of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// One figure per run or pair of runs, in the order of the runs.
    pub figures: Vec<f64>,
    /// The unit of the figures.
    pub unit: Unit,
    /// The goal of the median, if any.
    pub goal: Option<Goal>,
    /// Our own figures with their units.
    pub ours: String,
    /// The baseline with its figures; empty if there is none.
    pub baseline: String,
}

/// The unit of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Ours divided by the baseline.
    Ratio,
    /// Per second.
    PerSecond,
    /// A number per record or request.
    Each,
    /// MiB.
    Mebibytes,
    /// Milliseconds.
    Milliseconds,
}

/// The goal of a median.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Goal {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Row {
    /// A row of figures without a baseline.
    #[must_use]
    pub fn new(
        what: impl Into<String>,
        figures: Vec<f64>,
        unit: Unit,
        ours: impl Into<String>,
    ) -> Self {
        let ours = ours.into().trim().to_owned();
        Self {
            what: what.into(),
            figures,
            unit,
            goal: None,
            ours,
            baseline: String::new(),
        }
    }

    /// The same row without what the row above has too.
    #[must_use]
    pub fn below(&self, above: &Self) -> Self {
        let shortened = |own: &str, above: &str| {
            if own == above && !own.is_empty() {
                "″"
            } else {
                own
            }
            .to_owned()
        };
        let subject = |what: &str| {
            what.split_once(": ")
                .map_or(what.len(), |(subject, _)| subject.len())
        };
        let (own, other) = (
            &self.what[..subject(&self.what)],
            &above.what[..subject(&above.what)],
        );
        let what = if own == other {
            format!("″{}", &self.what[own.len()..])
        } else {
            self.what.clone()
        };
        let [ours, baseline] = [(&self.ours, &above.ours), (&self.baseline, &above.baseline)]
            .map(|(own, above)| shortened(own, above));
        Self {
            what,
            ours,
            baseline,
            ..self.clone()
        }
    }

    /// The same row, with a goal.
    #[must_use]
    pub fn with_goal(self, goal: impl Into<Option<Goal>>) -> Self {
        Self {
            goal: goal.into(),
            ..self
        }
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(self.figures.clone())
    }

    /// The minimum and the maximum.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        let fold = |pick: fn(f64, f64) -> f64| self.figures.iter().copied().reduce(pick).unwrap();
        (fold(f64::min), fold(f64::max))
    }

    /// Whether the goal is reached, if there is one.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtLeast(least) => self.median() >= least,
            Goal::AtMost(most) => self.median() <= most,
        })
    }

    /// Returns the goal as a cell of the report, which marks a missed goal. The cell is empty without a goal.
    fn goal_cell(&self) -> String {
        let bound = match self.goal {
            Some(Goal::AtLeast(least)) => format!("≥ {}", self.unit.show(least)),
            Some(Goal::AtMost(most)) => format!("≤ {}", self.unit.show(most)),
            None => return String::new(),
        };
        if self.is_reached() == Some(true) {
            bound
        } else {
            format!("{bound} **missed**")
        }
    }

    /// The row as a line of the Markdown table with the head [`TABLE_HEAD`].
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self {
            what,
            figures,
            unit,
            ours,
            baseline,
            ..
        } = self;
        let (low, high) = self.spread();
        let spread = match figures.len() {
            1 => String::new(),
            runs => format!("{}–{} ({runs})", unit.show(low), unit.show(high)),
        };
        let goal = self.goal_cell();
        let median = unit.show(self.median());
        format!("|{what}|{median}|{spread}|{goal}|{ours}|{baseline}|")
    }
}

/// The head of the table of [`Row::markdown`].
pub const TABLE_HEAD: &str =
    "|what|median|spread (runs)|goal|ours|beside|\n|---|---|---|---|---|---|";

impl Goal {
    /// The bound.
    #[must_use]
    pub const fn figure(self) -> f64 {
        match self {
            Self::AtLeast(figure) | Self::AtMost(figure) => figure,
        }
    }
}

impl Unit {
    /// The figure with its unit.
    #[must_use]
    pub fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(figure)),
            Self::Ratio | Self::Each => format!("{figure:.2}"),
            Self::Mebibytes => format!("{figure:.1} MiB"),
            Self::Milliseconds => format!("{figure:.2} ms"),
        }
    }
}

/// A number without decimals, with thousands separators.
#[must_use]
pub fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            unit,
            ours,
            baseline,
            ..
        } = self;
        let (low, high) = self.spread();
        write!(
            f,
            "{what}: {} ({} to {})",
            unit.show(self.median()),
            unit.show(low),
            unit.show(high)
        )?;
        if !ours.is_empty() {
            write!(f, "\n  ours    {ours}")?;
        }
        if !baseline.is_empty() {
            write!(f, "\n  beside  {baseline}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_a_missed_goal() {
        let row = Row::new("publish", vec![0.7, 0.8, 0.9], Unit::Ratio, "80/s")
            .with_goal(Goal::AtLeast(0.85));
        let row = Row {
            baseline: "a bare loop, 100/s".to_owned(),
            ..row
        };
        assert_eq!(row.is_reached(), Some(false));
        let line = "|publish|0.80|0.70–0.90 (3)|≥ 0.85 **missed**|80/s|a bare loop, 100/s|";
        assert_eq!(row.markdown(), line);
        let text = "publish: 0.80 (0.70 to 0.90)\n  ours    80/s\n  beside  a bare loop, 100/s";
        assert_eq!(row.to_string(), text);
        let row = row.with_goal(Goal::AtMost(0.8));
        assert_eq!(row.is_reached(), Some(true));
        assert_eq!(
            row.markdown().split('|').count(),
            TABLE_HEAD.lines().next().unwrap().split('|').count()
        );
    }

    #[test]
    fn thousands_are_separated() {
        let texts = [1.0, 999.4, 1_000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["1", "999", "1,000", "1,234,567"]);
    }
}
