//! A row of the table: what it is, what came out, and whether that is within the budget.

use super::plot::Plot;
use super::stats::Summary;

/// What a row is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Its number among the project's budgets.
    pub row: u8,
    /// For people.
    pub name: &'static str,
    /// Of every figure in it.
    pub unit: &'static str,
}

/// A row with its result, or the reason why there is none.
#[derive(Debug)]
pub struct Row {
    /// What it is about.
    pub subject: Subject,
    /// What came out.
    pub result: Result<Measured, String>,
}

/// What came out of a measurement.
#[derive(Debug)]
pub struct Measured {
    /// Ourselves.
    pub ours: Summary,
    /// Whom the budget compares us with.
    pub peer: Option<Named>,
    /// The budget.
    pub budget: Budget,
    /// Further limits that belong to the row.
    pub limits: Vec<Limit>,
    /// Others, measured in the same run and under no budget.
    pub also: Vec<Named>,
    /// What a reader must know to use the figures.
    pub notes: Vec<String>,
    /// A picture of it.
    pub plot: Option<Plot>,
}

/// A summary and whose it is.
#[derive(Debug)]
pub struct Named {
    /// Who, with the version, or what.
    pub name: String,
    /// Its figures.
    pub summary: Summary,
}

/// What the median must not exceed.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// This times the peer's median.
    Ratio(f64),
    /// This, in the unit of the row.
    Value(f64),
    /// Only the row's further limits.
    LimitsOnly,
}

/// A figure beside the medians that has a budget of its own.
#[derive(Debug)]
pub struct Limit {
    /// What, with its unit.
    pub name: &'static str,
    /// Measured.
    pub value: f64,
    /// At most.
    pub at_most: f64,
}

impl Measured {
    /// Our median over the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.peer
            .as_ref()
            .map(|peer| self.ours.p50 / peer.summary.p50)
    }

    /// Whether the row keeps its budget and its limits. A comparison without a peer does not.
    pub fn within_budget(&self) -> bool {
        let within = match self.budget {
            Budget::Ratio(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Budget::Value(most) => self.ours.p50 <= most,
            Budget::LimitsOnly => !self.limits.is_empty(),
        };
        within && self.limits.iter().all(Limit::is_kept)
    }
}

impl Limit {
    /// Whether the figure is within it.
    pub fn is_kept(&self) -> bool {
        self.value <= self.at_most
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row in which we need 8 and the peer 10.
    pub fn sample(budget: Budget) -> Measured {
        Measured {
            ours: Summary::of(vec![8.0, 8.0, 12.0]),
            peer: Some(Named {
                name: "peer 1.0".into(),
                summary: Summary::of(vec![10.0]),
            }),
            budget,
            limits: Vec::new(),
            also: Vec::new(),
            notes: Vec::new(),
            plot: None,
        }
    }

    #[test]
    fn a_ratio_is_held_against_the_peers_median() {
        assert!(sample(Budget::Ratio(0.8)).within_budget());
        assert!(!sample(Budget::Ratio(0.79)).within_budget());
        let alone = Measured {
            peer: None,
            ..sample(Budget::Ratio(9.0))
        };
        assert!(!alone.within_budget());
    }

    #[test]
    fn a_broken_limit_breaks_the_row() {
        let mut row = sample(Budget::Value(8.0));
        assert!(row.within_budget());
        row.limits.push(Limit {
            name: "peak memory, MiB",
            value: 65.0,
            at_most: 64.0,
        });
        assert!(!row.within_budget());
    }

    #[test]
    fn limits_alone_need_a_limit() {
        assert!(!sample(Budget::LimitsOnly).within_budget());
    }
}
