//! How far a pull is, for people.

use super::failure;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use supermachine::images::{Digest, NoProgress, Progress};

/// Digits of a digest that tell layers apart.
const SHORT: usize = 12;

const TEMPLATE: &str = "{prefix} {bar:30} {bytes:>10}/{total_bytes:<10} {msg}";

/// How much is told of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Nothing.
    Nothing,
    /// Bars on a terminal, nothing elsewhere: the pull is quick and beside the point.
    Bars,
    /// Bars on a terminal, one line elsewhere, so that a log shows what took so long.
    Everything,
}

/// The teller of a pull.
pub fn of_pull(reference: &str, telling: Telling) -> Box<dyn Progress> {
    let reference = super::printable(reference);
    match telling {
        Telling::Bars | Telling::Everything if std::io::stderr().is_terminal() => Box::new(Bars {
            reference,
            screen: MultiProgress::new(),
            layers: Mutex::default(),
        }),
        Telling::Everything => Box::new(Line { reference }),
        Telling::Nothing | Telling::Bars => Box::new(NoProgress),
    }
}

/// One line when something is fetched indeed.
struct Line {
    reference: String,
}

impl Progress for Line {
    fn image(&self, _: &Digest, _: usize) {
        failure::tell(&format!("Pulling {}\n", self.reference));
    }
}

/// A bar for each layer.
struct Bars {
    reference: String,
    screen: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn bar(&self, layer: &Digest, total: u64) -> ProgressBar {
        let style =
            ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self
            .screen
            .add(ProgressBar::new(total).with_style(style.progress_chars("=> ")));
        bar.set_prefix(layer.hex()[..SHORT].to_owned());
        bar
    }

    fn with<T>(&self, layer: &Digest, act: impl FnOnce(&ProgressBar) -> T) -> Option<T> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.get(layer).map(act)
    }
}

impl Progress for Bars {
    fn image(&self, _: &Digest, layers: usize) {
        let plural = if layers == 1 { "" } else { "s" };
        // A terminal that is gone is noticed where output matters.
        let _ = self.screen.println(format!(
            "Pulling {} ({layers} layer{plural})",
            self.reference
        ));
    }

    fn layer(&self, layer: &Digest, total: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = layers
            .entry(*layer)
            .or_insert_with(|| self.bar(layer, total));
        bar.set_length(total);
        bar.set_position(0);
    }

    fn advance(&self, layer: &Digest, bytes: u64) {
        self.with(layer, |bar| bar.inc(bytes));
    }

    fn done(&self, layer: &Digest) {
        self.with(layer, |bar| bar.finish_with_message("done"));
    }
}

impl Drop for Bars {
    /// Leaves the screen to the workload.
    fn drop(&mut self) {
        let _ = self.screen.clear();
    }
}
