//! Taking turns: A B A B ..., so that whatever else the machine does falls on all alike.

use super::stats::Summary;
use anyhow::{Context, Result};

/// One of those who take turns.
pub struct Contender<'a> {
    name: String,
    turn: Box<dyn FnMut() -> Result<Vec<f64>> + 'a>,
    /// Per figure of a turn, the values of all turns.
    values: Vec<Vec<f64>>,
    failed: Option<String>,
}

impl<'a> Contender<'a> {
    /// `turn` is one run; it returns the same number of figures each time.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self {
            name: name.into(),
            turn: Box::new(turn),
            values: Vec::new(),
            failed: None,
        }
    }

    /// As given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The figure at this place of each turn, or why there is none.
    pub fn summary(&self, figure: usize) -> Result<Summary, &str> {
        match (&self.failed, self.values.get(figure)) {
            (Some(reason), _) => Err(reason),
            (None, Some(values)) => Ok(Summary::of(values.clone())),
            (None, None) => Err("no such figure"),
        }
    }

    fn take_turn(&mut self) -> Option<Vec<f64>> {
        if self.failed.is_some() {
            return None;
        }
        match (self.turn)() {
            Ok(figures) => Some(figures),
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("      {} is out: {reason}", self.name);
                self.failed = Some(reason);
                None
            }
        }
    }

    fn record(&mut self, figures: Vec<f64>) {
        self.values.resize_with(figures.len(), Vec::new);
        for (all, figure) in self.values.iter_mut().zip(figures) {
            all.push(figure);
        }
    }
}

/// Lets each take `rounds` turns, in rotation. One turn before them is thrown away: it fills the page cache for
/// everyone and shows who cannot run here at all. One who fails is out and keeps the reason.
pub fn alternate(rounds: usize, contenders: &mut [Contender<'_>]) {
    for round in 0..=rounds {
        for contender in contenders.iter_mut() {
            match contender.take_turn() {
                Some(figures) if round > 0 => contender.record(figures),
                _ => {}
            }
        }
        if round > 0 && round % 10 == 0 {
            eprintln!("      {round} of {rounds} rounds");
        }
    }
}

/// The figures of a contender that the row cannot do without.
pub fn needed(contender: &Contender<'_>, figure: usize) -> Result<Summary> {
    contender
        .summary(figure)
        .map_err(|reason| anyhow::anyhow!(reason.to_owned()))
        .with_context(|| contender.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::cell::RefCell;

    #[test]
    fn turns_alternate_and_the_first_round_is_thrown_away() {
        let order = RefCell::new(String::new());
        let turn = |name: char, value: f64| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                let first = order.borrow().len() <= 2;
                Ok(vec![if first { 1e9 } else { value }])
            }
        };
        let mut two = [
            Contender::new("a", turn('a', 1.0)),
            Contender::new("b", turn('b', 2.0)),
        ];
        alternate(3, &mut two);
        assert_eq!(*order.borrow(), "abababab");
        assert_eq!(two[0].summary(0).unwrap(), Summary::of(vec![1.0; 3]));
        assert_eq!(needed(&two[1], 0).unwrap().p99, 2.0);
    }

    #[test]
    fn one_who_cannot_run_is_out_and_says_why() {
        let mut turns = 0;
        let mut contenders = [Contender::new("qemu", || {
            turns += 1;
            bail!("no such machine")
        })];
        alternate(5, &mut contenders);
        assert_eq!(needed(&contenders[0], 0).unwrap_err().to_string(), "qemu");
        assert_eq!(contenders[0].summary(0).unwrap_err(), "no such machine");
        drop(contenders);
        assert_eq!(turns, 1);
    }
}
