//! What is said about many runs: the middle and the tail, by nearest rank, so that each figure is one that was
//! measured.

/// Measured values in the unit of their row.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The median.
    pub p50: f64,
    /// The tail. With fewer than 100 values it is the largest.
    pub p99: f64,
    /// How many values.
    pub n: usize,
}

impl Summary {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a summary of nothing");
        values.sort_by(f64::total_cmp);
        Self {
            p50: nearest_rank(&values, 50),
            p99: nearest_rank(&values, 99),
            n: values.len(),
        }
    }
}

fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let summary = Summary::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((summary.p50, summary.p99, summary.n), (100.0, 198.0, 200));
        let few = Summary::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((few.p50, few.p99), (2.0, 3.0));
        assert_eq!(Summary::of(vec![7.0]).p99, 7.0);
    }
}
