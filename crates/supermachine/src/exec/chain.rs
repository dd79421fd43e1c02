//! Several commands, and files for them, in one round trip.

use super::{ExecBuilder, ExecStdin, Output};
use crate::config::byte_strings;
use crate::error::{ConfigError, Error};
use crate::session::{CollectError, Collected, Session, Step, collect_into};
use crate::workload::Wishes;
use proto::session::{Exit, Request, RequestBody, Series};
use std::ffi::OsStr;
use std::sync::Arc;

impl ExecBuilder<'_> {
    /// Runs several commands one after the other, each as this describes a process but for its [`ExecBuilder::argv`], in
    /// one round trip. One result for each that ran: the first that does not end with code 0 is the last. None of them has
    /// a standard input.
    pub fn chain<S: AsRef<OsStr>, C: IntoIterator<Item = S>>(
        mut self,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Result<Output, Error>>, Error> {
        if self.stdin != ExecStdin::Null {
            return Err(ConfigError::ChainStdin.into());
        }
        let process = |command: C| {
            let argv = byte_strings(command);
            let wishes = self.wishes.clone();
            self.vm.defaults().process(Wishes { argv, ..wishes })
        };
        let processes = commands
            .into_iter()
            .map(process)
            .collect::<Result<Vec<_>, _>>()?;
        if processes.is_empty() {
            return Ok(Vec::new());
        }
        let files = std::mem::take(&mut self.files);
        let session = Arc::new(Session::new(self.vm.reach().connect(self.deadline)?));
        session.request(&Request::new(RequestBody::Series(Series {
            files,
            processes,
        })))?;
        if let Some(canceler) = &self.canceler {
            canceler.watch(&session);
        }
        Ok(self.collect_chain(&session))
    }

    fn collect_chain(&self, session: &Session) -> Vec<Result<Output, Error>> {
        let allowed = self.deadline.remaining().unwrap_or_default();
        let mut collected = Collected::default();
        let ended = collect_into(&mut collected, session, self.output_limit, self.deadline);
        let mut rest = Rest::from(collected);
        let steps = session.take_steps();
        let mut results: Vec<_> = steps.into_iter().map(|step| Ok(rest.step(step))).collect();
        results.push(match ended {
            Ok(exit) => Ok(rest.last(exit)),
            Err(CollectError::TimedOut) => Err(Error::Deadline {
                waiting_for: "the process",
                limit: allowed,
            }),
            Err(CollectError::Session(error)) => Err(self.vm.reach().explain(error)),
        });
        results
    }
}

/// What has been collected and belongs to no command yet.
struct Rest {
    streams: [Vec<u8>; 2],
    /// How much of each belonged to earlier ones.
    before: [usize; 2],
}

impl From<Collected> for Rest {
    fn from(collected: Collected) -> Self {
        Self {
            streams: [collected.stdout, collected.stderr],
            before: [0; 2],
        }
    }
}

impl Rest {
    fn step(&mut self, step: Step) -> Output {
        let [stdout, stderr] = [0, 1].map(|stream| {
            let count = step.received[stream] - self.before[stream];
            let bytes = &mut self.streams[stream];
            let later = bytes.split_off(count.min(bytes.len()));
            std::mem::replace(bytes, later)
        });
        self.before = step.received;
        Output {
            exit: step.exit,
            stdout,
            stderr,
        }
    }

    fn last(self, exit: Exit) -> Output {
        let [stdout, stderr] = self.streams;
        Output {
            exit,
            stdout,
            stderr,
        }
    }
}
