//! Why a workload is not ready.

use proto::session::{Exit, ExitStatus};
use std::time::Duration;

/// Why a workload is not ready, or cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// It took too long.
    #[error("the workload was not ready within {limit:?}: {condition} did not come true{}", said(.last.as_deref()))]
    Late {
        /// What was waited for.
        condition: String,
        /// For how long.
        limit: Duration,
        /// What came of the last try of a command.
        last: Option<String>,
        /// The last lines the workload wrote.
        output: String,
    },
    /// It ended first.
    #[error("the workload {} before it was ready: {condition} did not come true", how(.exit.status))]
    Ended {
        /// What was waited for.
        condition: String,
        /// How it ended.
        exit: Exit,
        /// The last lines the workload wrote.
        output: String,
    },
    /// Not a condition.
    #[error("{text:?} is no condition: listen:PORT, file:PATH, exec:COMMAND and log:REGEX are")]
    Condition {
        /// As it was written.
        text: String,
    },
    /// Not a port.
    #[error("{0:?} is no TCP port: 1 to 65535 are")]
    Port(String),
    /// A relative path would be anybody's guess.
    #[error("{0:?} is not an absolute path")]
    Path(String),
    /// Nothing to run.
    #[error("there is no command to try")]
    NoCommand,
    /// Not a regular expression.
    #[error("{pattern:?} is no regular expression: {reason}")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// Why, in one line.
        reason: String,
    },
}

impl ReadyError {
    pub(crate) fn output(&self) -> Option<&str> {
        match self {
            Self::Late { output, .. } | Self::Ended { output, .. } => {
                Some(output.as_str()).filter(|output| !output.is_empty())
            }
            _ => None,
        }
    }
}

fn said(last: Option<&str>) -> String {
    last.map_or_else(String::new, |last| format!(" (the last try: {last})"))
}

fn how(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("ended with exit code {code}"),
        ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
    }
}
