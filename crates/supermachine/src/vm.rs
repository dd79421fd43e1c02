//! A running VM.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::exec::{ExecBuilder, Output};
use crate::record::VmSummary;
use crate::session::{OutputReader, StdinWriter};
use crate::signals::Signal;
use proto::session::Exit;
use std::ffi::OsStr;
use std::time::Duration;

/// A running VM. One that was started here is killed when its handle is dropped; one that was found with
/// [`crate::Runtime::open_vm`] is left alone.
#[derive(Debug)]
pub struct Vm {}

/// How long each step of a start took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Record, scratch disk and descriptors.
    pub prepare: Duration,
    /// From there until the vCPUs entered the guest.
    pub spawn: Duration,
    /// From there until the guest's agent listened.
    pub boot: Duration,
    /// From there until the workload ran.
    pub workload: Duration,
}

impl Vm {
    /// The name.
    pub fn name(&self) -> &str {
        ""
    }

    /// The id: 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        ""
    }

    /// What the record says.
    pub fn summary(&self) -> Result<VmSummary, Error> {
        Err(Error::NoSuchVm(String::new()))
    }

    /// How long each step of the start took; `None` for a VM of another process.
    pub fn timings(&self) -> Option<Timings> {
        None
    }

    /// Runs a program to its end and collects its output.
    pub fn exec<S: AsRef<OsStr>>(
        &self,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        self.exec_builder().argv(argv).output()
    }

    /// A program with an environment, user, directory, streams or limits of its own.
    pub fn exec_builder(&self) -> ExecBuilder<'_> {
        ExecBuilder::new(self)
    }

    /// Standard input of the main process, once, with [`crate::MainStdin::Stream`].
    pub fn take_stdin(&mut self) -> Option<StdinWriter> {
        None
    }

    /// Standard output of the main process, once, with [`crate::MainOutput::Stream`].
    pub fn take_stdout(&mut self) -> Option<OutputReader> {
        None
    }

    /// Standard error of the main process, once, with [`crate::MainOutput::Stream`].
    pub fn take_stderr(&mut self) -> Option<OutputReader> {
        None
    }

    /// Waits for the end of the workload. The guest's file systems may still be on their way to the disk:
    /// [`Self::close`] waits for them, and so does a drop of the handle if the VM's disk is kept.
    pub fn wait(&self) -> Result<Exit, Error> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`Self::wait`], until a deadline; the VM goes on when it passes.
    pub fn wait_deadline(&self, _deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        Err(Error::NoSuchVm(String::new()))
    }

    /// Sends a signal to the workload.
    pub fn signal(&self, _signal: Signal) -> Result<(), Error> {
        Ok(())
    }

    /// Sends the stop signal, kills after the grace period of the configuration, and returns when the VM is gone.
    pub fn stop(&self) -> Result<(), Error> {
        Ok(())
    }

    /// As [`Self::stop`], with another signal or grace period.
    pub fn stop_with(
        &self,
        _signal: Option<Signal>,
        _grace: Option<Duration>,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the VM at once and returns when it is gone. What was not synced inside is lost.
    pub fn kill(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Waits until the VM has ended by itself after its workload, or kills it if the workload still runs,
    /// and reports what a drop of the handle would swallow.
    pub fn close(self) -> Result<(), Error> {
        Ok(())
    }

    /// The log of the main process.
    pub fn logs(&self) -> Result<crate::log::LogReader, Error> {
        Err(Error::NoSuchVm(String::new()))
    }
}
