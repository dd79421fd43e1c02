//! The rules between the rooms, checked: which crate may use which, where `unsafe` and KVM may appear,
//! what tests may not do, and which tests there have to be. Sizes are aims, so they only warn.

mod arrows;
mod lexer;
mod points;
mod rules;

use crate::command::Run;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// A broken rule, or an aim missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    place: String,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

/// `cargo xtask tidy`
pub fn run(_: &[String]) -> Result<()> {
    let mut broken = arrows::check(&workspace::metadata()?)?;
    let mut missed = Vec::new();
    let mut points = points::Points::default();
    let files = tracked_files()?;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(workspace::root().join(path)) else {
            continue; // not text, or deleted in the work tree
        };
        broken.extend(rules::check_text(path, &text));
        points.look(path, &text);
        if path.ends_with(".rs") {
            let source = rules::Source::new(path, &text);
            broken.extend(source.check());
            missed.extend(source.check_sizes());
        }
    }
    broken.extend(points.missing());
    for finding in &missed {
        eprintln!("      aim missed: {}: {}", finding.place, finding.what);
    }
    for finding in &broken {
        eprintln!("      broken: {}: {}", finding.place, finding.what);
    }
    if !broken.is_empty() {
        bail!("{} rules are broken", broken.len());
    }
    eprintln!("      tidy: {} files", files.len());
    Ok(())
}

/// Files git knows or would add.
fn tracked_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listing = git.text().context("tidy reads the files git knows")?;
    Ok(listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}
