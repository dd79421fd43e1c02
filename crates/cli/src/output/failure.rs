//! Errors: one line that says what failed and why, one that says what to do, and an exit code.

use super::{printable, stdout};
use crate::args::Refusal;
use crate::exit_code;
use std::io::{self, Write};

/// Ends the command with a code and without a word: everything has been said.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub struct Silent(pub u8);

/// Tells on standard error and gives the exit code.
pub fn report(error: &anyhow::Error) -> u8 {
    if !error.is::<Silent>() && !error.is::<stdout::Gone>() {
        tell(&render(error));
    }
    code(error)
}

/// Writes to standard error. If that is gone too there is nobody left to tell.
pub fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A line for people that is not an error.
pub fn note(text: &str) {
    tell(&format!("supermachine: {}\n", printable(text)));
}

/// The lines of an error.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("supermachine: {}\n", lines(&chain(error)));
    if let Some(console) = library(error).and_then(supermachine::Error::console) {
        text.push_str(&format!(
            "the last lines of the guest's console:\n    {}\n",
            lines(console)
        ));
    }
    if let Some(output) = library(error).and_then(supermachine::Error::output) {
        text.push_str(&format!(
            "the last lines of the workload's output:\n    {}\n",
            lines(output)
        ));
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {}\n", lines(&hint)));
    }
    text
}

/// The exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(Silent(code)) = cause.downcast_ref() {
            return *code;
        }
        if cause.is::<stdout::Gone>() {
            return exit_code::OUTPUT_GONE;
        }
        if let Some(error) = cause.downcast_ref::<supermachine::Error>() {
            return of_library(error);
        }
    }
    exit_code::OURS
}

/// A deadline of ours that passed is a failure of ours: 124 is for `--timeout` alone.
fn of_library(error: &supermachine::Error) -> u8 {
    match u8::try_from(error.exit_code()) {
        Ok(exit_code::TIMED_OUT) | Err(_) => exit_code::OURS,
        Ok(code) => code,
    }
}

/// Every cause once: a step that only passes its cause on repeats its words.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refusal.hint.clone();
        }
        let error = cause.downcast_ref::<supermachine::Error>()?;
        error.hint().or_else(|| hint_of_system(error))
    })
}

/// A library's error whose deepest cause is all there is to know.
fn hint_of_system(error: &supermachine::Error) -> Option<String> {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let full = |cause: &io::Error| cause.kind() == io::ErrorKind::StorageFull;
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(full)
        .then(|| {
            "`supermachine df` shows what takes up space, `prune` and `rmi` free it".to_owned()
        })
}

fn library(error: &anyhow::Error) -> Option<&supermachine::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// A message of several lines (the last words of a guest's console) keeps them, set off from ours.
fn lines(text: &str) -> String {
    text.trim_end()
        .split('\n')
        .map(printable)
        .collect::<Vec<_>>()
        .join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_one_line_and_names_every_step_once() {
        let error = Err::<(), _>(io::Error::from_raw_os_error(28))
            .context("cannot write /x")
            .context("pull alpine");
        insta::assert_snapshot!(
            render(&error.unwrap_err()),
            @"supermachine: pull alpine: cannot write /x: No space left on device (os error 28)"
        );
    }

    #[test]
    fn a_hint_is_a_line_of_its_own() {
        let error = anyhow::Error::new(Refusal {
            message: "--memory 0: a size must be more than zero".into(),
            hint: Some("write it like 512M".into()),
        });
        insta::assert_snapshot!(render(&error), @"
        supermachine: --memory 0: a size must be more than zero
        hint: write it like 512M
        ");
    }

    #[test]
    fn a_full_store_says_how_to_make_room() {
        let source = io::Error::from_raw_os_error(28);
        let error = supermachine::Error::Log {
            path: "/x".into(),
            source,
        };
        insta::assert_snapshot!(render(&error.into()), @"
        supermachine: cannot open the log in /x: No space left on device (os error 28)
        hint: `supermachine df` shows what takes up space, `prune` and `rmi` free it
        ");
    }

    #[test]
    fn what_a_guest_says_cannot_touch_the_terminal() {
        let error = anyhow::anyhow!("the guest's kernel panicked:\n[0.1] \x1b[2Jboom\nend\n");
        insta::assert_snapshot!(render(&error), @r"
        supermachine: the guest's kernel panicked:
            [0.1] \u{1b}[2Jboom
            end
        ");
    }

    #[test]
    fn a_cause_that_its_step_repeats_is_not_said_twice() {
        let error = anyhow::anyhow!("no such image").context("pull x: no such image");
        assert_eq!(render(&error), "supermachine: pull x: no such image\n");
    }

    #[test]
    fn codes_come_from_the_error() {
        assert_eq!(code(&anyhow::anyhow!("x")), 125);
        assert_eq!(code(&Silent(137).into()), 137);
        assert_eq!(code(&stdout::Gone.into()), 141);
        let limit = std::time::Duration::from_secs(60);
        let late = supermachine::Error::Deadline {
            waiting_for: "the start",
            limit,
        };
        assert_eq!(code(&late.into()), 125);
        assert_eq!(
            code(&anyhow::Error::from(supermachine::Error::Stopped).context("stop")),
            137
        );
    }
}
