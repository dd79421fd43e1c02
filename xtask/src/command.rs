//! Running other programs: what ran, where, and why it failed, in one line.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Checked ways to run a [`Command`]. None of them gives the program our standard input.
pub trait Run {
    /// Runs with our output; an exit code other than 0 is an error.
    fn checked(&mut self) -> Result<()>;
    /// Runs and returns standard output as text, trimmed; standard error is part of the error.
    fn text(&mut self) -> Result<String>;
    /// Runs with both outputs appended to a log, which the error names and quotes the end of.
    fn logged(&mut self, log: &Path) -> Result<()>;
    /// Runs with `bytes` as standard input and returns standard output.
    fn filter(&mut self, bytes: &[u8]) -> Result<Vec<u8>>;
}

impl Run for Command {
    fn checked(&mut self) -> Result<()> {
        let status = self
            .stdin(Stdio::null())
            .status()
            .with_context(|| cannot_start(self))?;
        if !status.success() {
            bail!("{} failed ({status})", shown(self));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<String> {
        let output = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| cannot_start(self))?;
        let stdout = succeeded(self, output)?;
        Ok(String::from_utf8(stdout)
            .with_context(|| format!("output of {}", shown(self)))?
            .trim()
            .to_owned())
    }

    fn logged(&mut self, log: &Path) -> Result<()> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        let status = self
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .with_context(|| cannot_start(self))?;
        if !status.success() {
            bail!(
                "{} failed ({status}); the end of {}:\n{}",
                shown(self),
                log.display(),
                end_of(log)
            );
        }
        Ok(())
    }

    fn filter(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut child = self
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| cannot_start(self))?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.write_all(bytes));
            let output = child.wait_with_output();
            let written = writer.join().expect("the writer does not panic");
            output.map(|output| (output, written))
        });
        let (output, written) = written.with_context(|| shown(self))?;
        let stdout = succeeded(self, output)?;
        written.with_context(|| format!("write to {}", shown(self)))?;
        Ok(stdout)
    }
}

fn succeeded(command: &Command, output: Output) -> Result<Vec<u8>> {
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(output.stdout)
}

/// The command line as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ");
    format!("`{line}`")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", shown(command))
}

/// The last lines of a log, for an error.
pub fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Where a program is found in PATH or in the directories where Debian keeps root's programs.
pub fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let roots = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(roots)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_quotes_its_words() {
        let error = Command::new("sh")
            .args(["-c", "echo no room >&2; exit 3"])
            .text()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`sh -c echo no room >&2; exit 3` failed"),
            "{error}"
        );
        assert!(error.ends_with("no room"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("no-such-program")
            .checked()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot start `no-such-program`");
    }

    #[test]
    fn a_filter_passes_more_than_a_pipe_holds() {
        let bytes = vec![7; 1 << 20];
        assert_eq!(Command::new("cat").filter(&bytes).unwrap(), bytes);
    }
}
