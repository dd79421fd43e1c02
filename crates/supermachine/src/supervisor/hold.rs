//! Holding a VM still while it is copied.

use super::snapshot::Subject;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::scratch::layers;
use crate::session::{Answer, Session, TimedOut};
use crate::vmm::{VmmConnector, VmmError};
use proto::control::{Command, Contents, Event};
use proto::session::{Freeze, Request, RequestBody};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long the guest may take to write its dirty pages back and to stop its workload.
const FREEZES: Duration = Duration::from_secs(60);

/// How long the VMM may take for what it does at once.
const ANSWERS: Duration = Duration::from_secs(30);

/// How long the VMM may take to write memory to a slow disk.
const SAVES: Duration = Duration::from_secs(600);

/// An answer of the VMM with the descriptors that came with it.
pub(super) type Answered = (Event, Vec<OwnedFd>);

/// A running VM as seen from a thread that copies it: orders go straight to the VMM, its answers come by way of the
/// supervisor's thread.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) vmm: VmmConnector,
    /// Process id of the VMM.
    pub(super) pid: u32,
    pub(super) answers: Receiver<Answered>,
}

/// A VM whose workload is frozen and whose vCPUs stand still, until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    access: &'a Access,
    freezer: Session,
    vcpus: Vcpus,
    workload: Workload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    Frozen,
    /// The agent has been told to let it go on.
    Thaws,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vcpus {
    Run,
    Stand,
}

impl Access {
    /// Freezes the workload, so that no instruction of it runs in a copy before the copy is somebody else, then stops
    /// the vCPUs.
    pub(super) fn hold(&self, freeze: Freeze) -> Result<Held<'_>, Error> {
        let stream = self.vmm.connect(Deadline::after(ANSWERS))?;
        let mut held = Held {
            access: self,
            freezer: Session::new(stream),
            vcpus: Vcpus::Run,
            workload: Workload::Frozen,
        };
        held.freezer
            .request(&Request::new(RequestBody::Freeze(freeze)))?;
        match held
            .freezer
            .wait_answer(Answer::Frozen, Deadline::after(FREEZES))
        {
            Ok(answered) => answered?,
            Err(TimedOut) => return Err(late("the freezing of the workload", FREEZES)),
        }
        self.vmm.order(&Command::Pause, &[])?;
        held.vcpus = Vcpus::Stand;
        self.wait("the VM to stop", ANSWERS, |event| {
            matches!(event, Event::Paused).then_some(())
        })?;
        Ok(held)
    }

    /// Waits for an answer of the VMM.
    fn wait<T>(
        &self,
        what: &'static str,
        limit: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Error> {
        self.wait_with(what, limit, |event, _| wanted(&event))
    }

    fn wait_with<T>(
        &self,
        what: &'static str,
        limit: Duration,
        mut wanted: impl FnMut(Event, Vec<OwnedFd>) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(limit);
        loop {
            match self
                .answers
                .recv_timeout(deadline.remaining().unwrap_or_default())
            {
                Ok((event, fds)) => {
                    if let Some(found) = wanted(event, fds) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(late(what, limit)),
                // The supervisor is done with it.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
            }
        }
    }
}

impl Held<'_> {
    /// Writes the VM down and gives the number of pages in its memory file.
    pub(super) fn save(
        &self,
        contents: Contents,
        state: &File,
        memory: &File,
    ) -> Result<u64, Error> {
        let path = PathBuf::from(format!("/proc/{}/pagemap", self.access.pid));
        let pagemap = File::open(&path).map_err(|source| VmmError::Open { path, source })?;
        let files = [state.as_fd(), memory.as_fd(), pagemap.as_fd()];
        self.access.vmm.order(&Command::Save(contents), &files)?;
        let saved = self
            .access
            .wait("the saving of the VM", SAVES, |event| match event {
                Event::Saved { pages } => Some(Ok(*pages)),
                Event::SaveFailed { message } => Some(Err(VmmError::NotSaved(message.clone()))),
                _ => None,
            })?;
        Ok(saved?)
    }

    /// The writable disk as it is now: files that nobody writes, the lowest first. Where the file system copies by
    /// reference, that is all; elsewhere the VM goes on with a disk that lies upon them.
    pub(super) fn share_disk(&self, subject: &Subject) -> Result<Vec<File>, Error> {
        let (files, upon) = layers::share(&subject.dir)?;
        if let Some(disk) = upon {
            self.access
                .vmm
                .set_writable_disk(subject.disk_mode, &disk)?;
        }
        Ok(files)
    }

    /// Makes a copy, whose control socket is this; its process id and a pidfd.
    pub(super) fn fork(&self, control: BorrowedFd<'_>) -> Result<(i32, OwnedFd), Error> {
        self.access.vmm.order(&Command::Fork, &[control])?;
        let forked =
            self.access
                .wait_with("a fork of the VM", ANSWERS, |event, fds| match event {
                    Event::Forked { pid } => Some(
                        fds.into_iter()
                            .next()
                            .map(|pidfd| (pid, pidfd))
                            .ok_or_else(|| VmmError::NotForked("no pidfd came with it".into())),
                    ),
                    Event::ForkFailed { message } => Some(Err(VmmError::NotForked(message))),
                    _ => None,
                })?;
        Ok(forked?)
    }
}

impl Held<'_> {
    /// Lets the VM go on. Dropping this waits until it does.
    pub(super) fn let_go(&mut self) {
        if self.vcpus == Vcpus::Stand
            && let Err(error) = self.resume()
        {
            tracing::warn!(%error, "a VM that was held does not go on");
        }
        self.vcpus = Vcpus::Run;
        if self.workload == Workload::Frozen {
            self.workload = Workload::Thaws;
            self.freezer.thaw();
        }
    }

    fn resume(&self) -> Result<(), Error> {
        self.access.vmm.order(&Command::Resume, &[])?;
        self.access.wait("the VM to go on", ANSWERS, |event| {
            matches!(event, Event::Resumed).then_some(())
        })
    }
}

impl Drop for Held<'_> {
    /// Lets the VM go on, whatever happened. A VMM that does not answer is found dead by the supervisor.
    fn drop(&mut self) {
        self.let_go();
        // The agent ends the session when the workload runs again.
        let _ = self.freezer.wait(Deadline::after(ANSWERS));
    }
}

const fn late(waiting_for: &'static str, limit: Duration) -> Error {
    Error::Deadline { waiting_for, limit }
}
