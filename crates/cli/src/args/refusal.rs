//! What is wrong with a command line, in one line, and what to do.

use super::{Line, unbuilt};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};
use std::ffi::OsString;

/// A command line that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Puts the parser's findings into our words.
pub fn describe(error: &Error, words: &[OsString]) -> Refusal {
    let command = named_command(words);
    let command = command.as_deref();
    let of_command = command.map_or(String::new(), |command| format!("{command}: "));
    let message = format!(
        "{of_command}{}",
        finding(error, command.unwrap_or_default())
    );
    Refusal {
        message,
        hint: Some(reason(error, command).unwrap_or_else(|| hint(error, command))),
    }
}

/// The first word that is a command of ours.
fn named_command(words: &[OsString]) -> Option<String> {
    let word = words
        .iter()
        .skip(1)
        .find_map(|word| word.to_str().filter(|word| !word.starts_with('-')))?;
    Line::command()
        .get_subcommands()
        .map(|known| known.get_name())
        .find(|name| *name == word)
        .map(str::to_owned)
}

fn finding(error: &Error, command: &str) -> String {
    let argument = strings(error, ContextKind::InvalidArg).join(", ");
    let value = strings(error, ContextKind::InvalidValue).join(" ");
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = strings(error, ContextKind::InvalidSubcommand).join(" ");
            if unbuilt::is_command(&word) {
                not_built(&word)
            } else {
                format!("unknown command: {word}")
            }
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command given".to_owned()
        }
        ErrorKind::UnknownArgument if unbuilt::is_flag(command, &argument) => not_built(&argument),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("unknown flag: {argument}")
        }
        ErrorKind::UnknownArgument => format!("unexpected argument: {argument}"),
        ErrorKind::InvalidValue if value.is_empty() => format!("{} needs a value", flag(&argument)),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let possible = strings(error, ContextKind::ValidValue);
            let expected = if possible.is_empty() {
                String::new()
            } else {
                format!(": it takes {}", possible.join(", "))
            };
            format!("{}: invalid value {value:?}{expected}", flag(&argument))
        }
        ErrorKind::MissingRequiredArgument => format!("missing {}", plain(&argument)),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("missing {}", plain(&argument))
        }
        ErrorKind::TooManyValues => format!("{}: unexpected value {value:?}", flag(&argument)),
        ErrorKind::NoEquals => format!("{}: write its value after an =", flag(&argument)),
        ErrorKind::ArgumentConflict => {
            let other = strings(error, ContextKind::PriorArg);
            match other.first() {
                Some(other) if *other != argument => {
                    format!("{} cannot be used with {}", flag(&argument), flag(other))
                }
                _ => format!("{} was given twice", flag(&argument)),
            }
        }
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => error.kind().to_string(),
    }
}

/// Why a flag of Docker's is none of ours.
fn reason(error: &Error, command: Option<&str>) -> Option<String> {
    let flag = strings(error, ContextKind::InvalidArg).join(", ");
    unbuilt::reason(command?, &flag).map(str::to_owned)
}

fn not_built(word: &str) -> String {
    format!("{word} is not built yet")
}

fn hint(error: &Error, command: Option<&str>) -> String {
    let suggested: Vec<_> = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .flat_map(|kind| strings(error, kind))
        .collect();
    if let Some(suggestion) = suggested.first() {
        return format!("did you mean {suggestion}?");
    }
    match command {
        Some(command) => format!("see supermachine {command} --help"),
        None => "see supermachine --help".to_owned(),
    }
}

fn strings(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// `--memory <SIZE>` is called `--memory`.
fn flag(argument: &str) -> &str {
    argument.split([' ', '=', '[']).next().unwrap_or(argument)
}

/// `<NAME> <COMMAND>...` is called `NAME COMMAND`.
fn plain(argument: &str) -> String {
    argument
        .trim_end_matches("...")
        .chars()
        .filter(|c| !"<>".contains(*c))
        .collect()
}
