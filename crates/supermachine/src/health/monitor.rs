//! The thread that asks.

use super::{Check, Health, Probe};
use crate::deadline::Deadline;
use crate::error::{Error, describe};
use crate::session::{CollectError, Session, collect};
use crate::supervisor::{Order, Shared};
use crate::vmm::VmmConnector;
use crate::workload::{Defaults, Wishes};
use proto::session::{Request, RequestBody};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Over the timeout of a test: the guest keeps it, this is for one that does not.
const MARGIN: Duration = Duration::from_secs(5);

/// A test that writes more is not one.
const MOST_OUTPUT: usize = 1 << 20;

/// Asks a workload whether it is well for as long as it runs.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) check: Check,
    pub(crate) defaults: Defaults,
    pub(crate) connector: VmmConnector,
    pub(crate) shared: Arc<Shared>,
}

impl Monitor {
    /// Asks from a thread of its own, which ends with the workload.
    pub(crate) fn spawn(self) -> Result<(), Error> {
        std::thread::Builder::new()
            .name("health".into())
            .spawn(move || self.run())
            .map(drop)
            .map_err(Error::Thread)
    }

    fn run(self) {
        let born = Instant::now();
        let mut health = Health::default();
        loop {
            let pause = Deadline::after(health.pause(&self.check, born.elapsed()));
            if self.has_ended(pause) {
                return;
            }
            let age = born.elapsed();
            let start = SystemTime::now();
            let (exit_code, output) = self.probe();
            if self.has_ended(Deadline::after(Duration::ZERO)) {
                return;
            }
            health.note(&self.check, age, Probe::new(start, exit_code, &output));
            self.shared.order(Order::Health(Box::new(health.clone())));
        }
    }

    /// Whether the workload ends before the deadline. While the VM is paused, nothing is asked.
    fn has_ended(&self, deadline: Deadline) -> bool {
        let ended = |status: &crate::supervisor::Status| {
            (status.exit.is_some() || status.outcome.is_some()).then_some(true)
        };
        if self.shared.wait(deadline, ended).is_ok() {
            return true;
        }
        let goes_on = |status: &crate::supervisor::Status| match ended(status) {
            None if status.paused => None,
            ended => Some(ended.is_some()),
        };
        self.shared.wait(Deadline::NEVER, goes_on).unwrap_or(true)
    }

    /// Runs the test: its exit code and what it wrote.
    fn probe(&self) -> (i32, Vec<u8>) {
        let timeout = self.check.timeout;
        let ask = || {
            let process = self.defaults.process(Wishes {
                argv: self.check.argv.clone(),
                timeout: Some(timeout),
                ..Wishes::default()
            })?;
            let deadline = Deadline::after(timeout + MARGIN);
            let session = Session::new(self.connector.connect(deadline)?);
            session.request(&Request::new(RequestBody::Exec(process)))?;
            Ok::<_, Error>(collect(&session, MOST_OUTPUT, deadline))
        };
        let late = || format!("Health check exceeded timeout ({timeout:?})").into_bytes();
        match ask() {
            Ok(Ok((exit, _))) if exit.timed_out => (-1, late()),
            Ok(Ok((exit, mut collected))) => {
                collected.stdout.append(&mut collected.stderr);
                (exit.status.shell_code(), collected.stdout)
            }
            Ok(Err(CollectError::TimedOut)) => (-1, late()),
            Ok(Err(CollectError::Session(error))) => (-1, describe(&error).into_bytes()),
            Err(error) => (-1, describe(&error).into_bytes()),
        }
    }
}
