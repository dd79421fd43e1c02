//! The words about terminals that several commands have, resolved.

use super::process::refuse;
use crate::args::Refusal;
use crate::detach_keys::{self, DetachKeys};
use crate::{exit_code, output::failure, terminal};
use supermachine::WindowSize;

/// As written.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// `-i`
    pub interactive: bool,
    /// `-t`
    pub tty: bool,
    /// `-d`
    pub detach: bool,
    /// `--detach-keys`
    pub keys: Option<&'a str>,
}

/// A terminal that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tty {
    /// Of ours.
    pub size: WindowSize,
    /// What leaves it.
    pub keys: DetachKeys,
}

/// A terminal, if one is asked for. Where keys are to be passed on, something has to have keys.
pub fn resolve(words: &Words<'_>) -> Result<Option<Tty>, Refusal> {
    let keys = keys(words.keys)?;
    if words.tty && words.interactive && !words.detach {
        require_keyboard()?;
    }
    Ok(words.tty.then(|| Tty {
        size: terminal::size_or_none(),
        keys,
    }))
}

/// `--detach-keys`
pub fn keys(text: Option<&str>) -> Result<DetachKeys, Refusal> {
    let text = text.unwrap_or(detach_keys::DEFAULT);
    text.parse()
        .map_err(|error| refuse("--detach-keys", text, error))
}

/// Refuses what cannot be typed into, in Docker's words.
pub fn require_keyboard() -> Result<(), Refusal> {
    if terminal::is_input() {
        return Ok(());
    }
    Err(Refusal {
        message: "the input device is not a TTY".to_owned(),
        hint: Some("leave -t out when standard input is a file or a pipe".to_owned()),
    })
}

/// Says where the user is now, and gives the exit code.
pub fn told_to_be_left(name: &str) -> u8 {
    failure::tell("\n");
    failure::note(&format!("left {name}, which goes on"));
    exit_code::SUCCESS
}
