//! `logs`

mod lines;

use super::process::refuse;
use crate::args::{self, Refusal};
use crate::exit_code;
use crate::moments;
use crate::output::stdout::{self, Gone};
use anyhow::Context;
use lines::{Choice, Lines};
use std::io::{self, Write};
use std::time::SystemTime;
use supermachine::log::{LogEntry, LogReader, LogStream};
use supermachine::{Deadline, Runtime};

/// Prints what a workload wrote, each stream on its own.
pub fn carry_out(args: &args::Logs) -> anyhow::Result<u8> {
    let now = SystemTime::now();
    let moment = |flag, text: &Option<String>| {
        let text = text.as_ref();
        text.map(|text| moments::parse(text, now).map_err(|error| refuse(flag, text, error)))
            .transpose()
    };
    let choice = Choice {
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
        timestamps: args.timestamps,
    };
    let tail = args.tail.as_deref().map(tail).transpose()?.flatten();
    let runtime = Runtime::new()?;
    let mut log = runtime.logs(&args.name)?;
    let skip = match tail {
        None => 0,
        Some(last) => count(&choice, runtime.logs(&args.name)?)?.saturating_sub(last),
    };
    let end = match choice.until {
        // What comes later is not wanted.
        Some(until) => Deadline::after(until.duration_since(now).unwrap_or_default()),
        None => Deadline::NEVER,
    };
    let mut lines = Lines::new(choice, skip);
    while let Some(entry) = next(&mut log, args.follow, end).context("cannot read the log")? {
        print(entry.stream, &lines.take(&entry))?;
    }
    Ok(exit_code::SUCCESS)
}

fn next(log: &mut LogReader, follow: bool, end: Deadline) -> io::Result<Option<LogEntry>> {
    if !follow {
        return log.next().transpose();
    }
    match log.follow_deadline(end) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
        other => other,
    }
}

/// A number of lines, or `all`. As with Docker, a negative number means all.
fn tail(text: &str) -> Result<Option<u64>, Refusal> {
    match (text, text.parse::<i64>()) {
        ("all", _) => Ok(None),
        (_, Ok(count)) => Ok(u64::try_from(count).ok()),
        (_, Err(_)) => Err(refuse("--tail", text, "it takes a number of lines, or all")),
    }
}

/// How many lines of the choice there are so far.
fn count(choice: &Choice, log: LogReader) -> anyhow::Result<u64> {
    let mut lines = Lines::new(choice.clone(), u64::MAX);
    for entry in log {
        lines.take(&entry.context("cannot read the log")?);
    }
    Ok(lines.seen())
}

fn print(stream: LogStream, bytes: &[u8]) -> anyhow::Result<()> {
    match stream {
        LogStream::Stdout => stdout::write(bytes),
        LogStream::Stderr => match io::stderr().write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Gone.into()),
            written => written.context("cannot write to standard error"),
        },
    }
}
