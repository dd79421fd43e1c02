//! Saying what is going on: numbered steps, each with the time it took.

use anyhow::Result;
use std::time::{Duration, Instant};

/// The steps of one command.
pub struct Steps {
    started: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// No step taken yet.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Announces a step, takes it and keeps its time.
    pub fn step<T>(&mut self, name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let started = Instant::now();
        let result = action();
        self.done.push((name.to_owned(), started.elapsed()));
        result
    }

    /// Prints how long each step took.
    pub fn summary(&self) {
        eprintln!("==> times");
        for (name, took) in &self.done {
            eprintln!("  {:>8}  {name}", seconds(*took));
        }
        eprintln!("  {:>8}  in all", seconds(self.started.elapsed()));
    }
}

/// A duration for people.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
