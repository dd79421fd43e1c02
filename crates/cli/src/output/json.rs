//! Lists for programs.

use super::stdout;
use anyhow::Context;
use serde::Serialize;

/// Prints one JSON document.
pub fn print<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    stdout::line(&render(value)?)
}

/// The document, indented for the people who look at it too.
pub fn render<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    serde_json::to_string_pretty(value).context("cannot write JSON")
}
