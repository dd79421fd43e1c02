//! `completion`

use crate::args::{self, Line};
use crate::exit_code;
use crate::output::stdout;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

/// Prints a script that completes our words in a shell.
pub fn carry_out(args: &args::Completion) -> anyhow::Result<u8> {
    let shell = match args.shell {
        args::CompletedShell::Bash => Shell::Bash,
        args::CompletedShell::Zsh => Shell::Zsh,
        args::CompletedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Line::command(), "supermachine", &mut script);
    stdout::write(&script)?;
    Ok(exit_code::SUCCESS)
}
