//! `logs`

use crate::args;
use crate::exit_code;
use crate::output::stdout::{self, Gone};
use anyhow::Context;
use std::io::{self, Write};
use supermachine::Runtime;
use supermachine::log::{LogEntry, LogReader, LogStream};

/// Prints what a workload wrote, each stream on its own.
pub fn carry_out(args: &args::Logs) -> anyhow::Result<u8> {
    let mut log = Runtime::new()?.logs(&args.name)?;
    let next = if args.follow {
        LogReader::follow
    } else {
        |log: &mut LogReader| log.next().transpose()
    };
    while let Some(entry) = next(&mut log).context("cannot read the log")? {
        print(&entry)?;
    }
    Ok(exit_code::SUCCESS)
}

fn print(entry: &LogEntry) -> anyhow::Result<()> {
    match entry.stream {
        LogStream::Stdout => stdout::write(&entry.data),
        LogStream::Stderr => match io::stderr().write_all(&entry.data) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Gone.into()),
            written => written.context("cannot write to standard error"),
        },
    }
}
