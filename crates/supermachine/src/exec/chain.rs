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
        let canceler = self.canceler.take();
        let (vm, deadline, limit) = (self.vm, self.deadline, self.output_limit);
        let allowed = deadline.remaining().unwrap_or_default();
        let Some(series) = self.series(commands)? else {
            return Ok(Vec::new());
        };
        let session = Arc::new(Session::new(vm.reach().connect(deadline)?));
        session.request(&Request::new(RequestBody::Series(series)))?;
        if let Some(canceler) = canceler {
            canceler.watch(&session);
        }
        let mut collected = Collected::default();
        let last = match collect_into(&mut collected, &session, limit, deadline) {
            Ok(exit) => Ok(exit),
            Err(CollectError::TimedOut) => Err(Error::Deadline {
                waiting_for: "the process",
                limit: allowed,
            }),
            Err(CollectError::Session(error)) => Err(vm.reach().explain(error)),
        };
        Ok(collected.into_chain(session.take_steps(), last))
    }

    /// What is asked of the agent; `None` if it is nothing.
    pub(crate) fn series<S: AsRef<OsStr>, C: IntoIterator<Item = S>>(
        self,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<Option<Series>, Error> {
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
        let files = self.files;
        Ok((!processes.is_empty()).then_some(Series { files, processes }))
    }
}

impl Collected {
    /// All of it is one command's.
    pub(crate) fn into_output(self, exit: Exit) -> Output {
        Rest::from(self).last(exit)
    }

    /// What each command of a chain left.
    pub(crate) fn into_chain(
        self,
        steps: Vec<Step>,
        last: Result<Exit, Error>,
    ) -> Vec<Result<Output, Error>> {
        let mut rest = Rest::from(self);
        let mut results: Vec<_> = steps.into_iter().map(|step| Ok(rest.step(step))).collect();
        results.push(last.map(|exit| rest.last(exit)));
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
