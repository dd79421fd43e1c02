//! The command line of supermachine: a thin skin over the library of the same name.
//!
//! ```text
//! words -> args (as written) -> commands (resolved, then done) -> output
//! ```

#![forbid(unsafe_code)]

mod args;
mod commands;
mod detach_keys;
mod durations;
mod environment;
mod exit_code;
mod logging;
mod moments;
mod output;
mod signals;
mod sizes;
mod streams;
mod terminal;

use args::Parsed;
use output::{failure, stdout};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let code = carry_out(&words).unwrap_or_else(|error| failure::report(&error));
    ExitCode::from(code)
}

fn carry_out(words: &[OsString]) -> anyhow::Result<u8> {
    match args::parse(words)? {
        Parsed::Text(text) => stdout::write(text.as_bytes()).map(|()| exit_code::SUCCESS),
        Parsed::Line(line) => {
            logging::start(line.debug)?;
            commands::carry_out(line.command)
        }
    }
}
