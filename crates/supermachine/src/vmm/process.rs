//! Starting `supermachine-vmm` and talking to it.

use super::{VmmError, console};
use crate::deadline::Deadline;
use crate::packet::{self, PacketError};
use crate::poll;
use crate::scratch::layers::DiskFiles;
use proto::control::{
    Command as Order, Disk, DiskMode, DiskShape, End, Event, MAX_DESCRIPTORS, VERSION,
};
use proto::guest::disk;
use rustix::event::PollFlags;
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A VMM that takes no message for so long is stuck.
const LISTENS: Duration = Duration::from_secs(30);

/// The process around one VM. It ends by itself when its socket closes; [`VmmProcess::reap`] collects it.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    program: PathBuf,
    control: Arc<OwnedFd>,
    pidfd: OwnedFd,
    pid: u32,
    /// Absent for the copy of a fork, which is a child of another VMM.
    child: Option<Child>,
    console: PathBuf,
    log: PathBuf,
}

/// Opens streams to the guest's agent, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct VmmConnector {
    control: Arc<OwnedFd>,
    pid: u32,
}

impl VmmConnector {
    /// The process id of the VMM.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the VMM has closed its end, which it does when it ends.
    pub(crate) fn has_hung_up(&self) -> bool {
        // The kernel reports a hang-up whether it was asked for or not; events that wait are no news.
        poll::ready(
            &self.control,
            PollFlags::empty(),
            Deadline::after(Duration::ZERO),
        )
    }

    /// Gives an order. What becomes of it is told to whoever reads the VMM's events.
    pub(crate) fn order(&self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), VmmError> {
        Ok(packet::send(
            &*self.control,
            order,
            fds,
            Deadline::after(LISTENS),
        )?)
    }

    /// Fills the slot of the writable disk, or goes on with other files for the same disk.
    pub(crate) fn set_writable_disk(
        &self,
        mode: DiskMode,
        files: &DiskFiles,
    ) -> Result<(), VmmError> {
        let order = Order::SetDisk(Disk {
            slot: disk::SCRATCH,
            mode,
            shape: match files.files.len() {
                1 => DiskShape::Concatenated,
                _ => DiskShape::Layered,
            },
            pieces: files.files.iter().map(|_| files.bytes).collect(),
            more: false,
        });
        let fds: Vec<_> = files.files.iter().map(AsFd::as_fd).collect();
        self.order(&order, &fds)
    }

    /// A stream to the agent. The packet is sent whole or not at all, so threads need no lock between them.
    pub(crate) fn connect(&self, deadline: Deadline) -> Result<OwnedFd, VmmError> {
        let (ours, theirs) = packet::pair(SocketType::STREAM)
            .map_err(|errno| VmmError::Control(PacketError::Socket(errno)))?;
        packet::send(
            &*self.control,
            &Order::Connect {
                port: proto::guest::AGENT_PORT,
            },
            &[theirs.as_fd()],
            deadline.min(Deadline::after(LISTENS)),
        )?;
        Ok(ours)
    }
}

impl VmmProcess {
    /// Starts the program with its control socket as standard input.
    pub(crate) fn spawn(program: &Path, console: PathBuf, log: PathBuf) -> Result<Self, VmmError> {
        let failed = |source| VmmError::Spawn {
            path: program.to_owned(),
            source,
        };
        let (ours, theirs) =
            packet::pair(SocketType::SEQPACKET).map_err(|errno| failed(errno.into()))?;
        let output = File::create(&log).map_err(|source| VmmError::Open {
            path: log.clone(),
            source,
        })?;
        let errors = output.try_clone().map_err(failed)?;
        let child = Command::new(program)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(failed)?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            program: program.to_owned(),
            control: Arc::new(ours),
            pidfd,
            pid: child.id(),
            child: Some(child),
            console,
            log,
        })
    }

    /// Takes over the copy of a VMM: its process id, its control socket and a pidfd of it.
    pub(crate) fn adopt(program: PathBuf, (pid, control, pidfd): (i32, OwnedFd, OwnedFd)) -> Self {
        Self {
            program,
            control: Arc::new(control),
            pidfd,
            pid: pid.unsigned_abs(),
            child: None,
            console: PathBuf::new(),
            log: PathBuf::new(),
        }
    }

    /// Where what it leaves behind will be found.
    pub(crate) fn set_logs(&mut self, console: PathBuf, log: PathBuf) {
        self.console = console;
        self.log = log;
    }

    /// The process id.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn connector(&self) -> VmmConnector {
        VmmConnector {
            control: Arc::clone(&self.control),
            pid: self.pid,
        }
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends an order. A VMM that does not take it has ended, and that is the error.
    pub(crate) fn send(&mut self, order: &Order, fds: &[BorrowedFd<'_>]) -> Result<(), VmmError> {
        match packet::send(&*self.control, order, fds, Deadline::after(LISTENS)) {
            Err(PacketError::Closed) => Err(self.last_words()),
            other => Ok(other?),
        }
    }

    /// Why a VMM that has closed its socket did so.
    fn last_words(&mut self) -> VmmError {
        loop {
            match self.try_event() {
                Ok(Some(_)) => {}
                Ok(None) => return self.post_mortem(),
                Err(end) => return end,
            }
        }
    }

    /// Gives a disk to the VM, in as many packets as its pieces need.
    pub(crate) fn set_disk(
        &mut self,
        slot: u8,
        mode: DiskMode,
        pieces: &[(File, u64)],
    ) -> Result<(), VmmError> {
        let mut chunks = pieces.chunks(MAX_DESCRIPTORS).peekable();
        while let Some(chunk) = chunks.next() {
            let fds: Vec<_> = chunk.iter().map(|(file, _)| file.as_fd()).collect();
            let lens = chunk.iter().map(|(_, len)| *len).collect();
            let disk = Disk {
                slot,
                mode,
                shape: DiskShape::Concatenated,
                pieces: lens,
                more: chunks.peek().is_some(),
            };
            self.send(&Order::SetDisk(disk), &fds)?;
        }
        Ok(())
    }

    /// Fills the slot of the writable disk.
    pub(crate) fn set_writable_disk(
        &mut self,
        mode: DiskMode,
        files: &DiskFiles,
    ) -> Result<(), VmmError> {
        self.connector().set_writable_disk(mode, files)
    }

    /// Waits for the next event. `Ok(None)` when the deadline has passed.
    pub(crate) fn next_event(&mut self, deadline: Deadline) -> Result<Option<Event>, VmmError> {
        loop {
            if let Some(event) = self.try_event()? {
                return Ok(Some(event));
            }
            if !poll::ready(&self.control, PollFlags::IN, deadline) {
                return Ok(None);
            }
        }
    }

    /// The next event if there is one; the end of the VM as an error.
    pub(crate) fn try_event(&mut self) -> Result<Option<Event>, VmmError> {
        Ok(self.try_event_with()?.map(|(event, _)| event))
    }

    /// As [`Self::try_event`], with the descriptors that came with it.
    pub(crate) fn try_event_with(&mut self) -> Result<Option<(Event, Vec<OwnedFd>)>, VmmError> {
        match packet::try_receive::<Event>(&*self.control) {
            Ok(Some((Event::Ended(end), _))) => Err(self.explain(end)),
            Ok(Some((Event::Hello { version, release }, fds))) => {
                if version != VERSION || release != crate::RELEASE {
                    return Err(VmmError::Release {
                        path: self.program.clone(),
                        found: release,
                        version,
                    });
                }
                Ok(Some((Event::Hello { version, release }, fds)))
            }
            Ok(received) => Ok(received),
            Err(PacketError::Closed) => Err(self.post_mortem()),
            Err(error) => Err(VmmError::Control(error)),
        }
    }

    fn explain(&self, end: End) -> VmmError {
        match end {
            End::GuestReset => console::verdict(&self.console),
            End::Failed { step, message } => VmmError::Failed {
                step,
                message,
                console: console::tail(&self.console),
            },
        }
    }

    /// The VMM is gone without a last message.
    pub(crate) fn post_mortem(&mut self) -> VmmError {
        // One that is exiting keeps its status; one that only closed its socket must not live on.
        self.kill();
        let how = match self.reap() {
            Some(status) => describe(status),
            None => "ended without a word".to_owned(),
        };
        VmmError::Died {
            how,
            console: console::tail(&self.console),
            log: console::tail(&self.log),
        }
    }

    /// Whether the process has ended (and not been collected).
    pub(crate) fn has_ended(&self) -> bool {
        poll::ready(&self.pidfd, PollFlags::IN, Deadline::after(Duration::ZERO))
    }

    /// Ends the process at once.
    pub(crate) fn kill(&self) {
        // A process that is gone already is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits for the end of the process.
    pub(crate) fn reap(&mut self) -> Option<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().ok(),
            None => {
                poll::ready(&self.pidfd, PollFlags::IN, Deadline::NEVER);
                None
            }
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        self.kill();
        self.reap();
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A VMM that does what a shell script does.
    fn fake(dir: &Path, script: &str) -> VmmProcess {
        let program = dir.join("vmm");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        VmmProcess::spawn(&program, dir.join("console.log"), dir.join("vmm.log")).unwrap()
    }

    /// A VMM whose side of the conversation is ours.
    fn spoken_for(dir: &Path) -> (VmmProcess, OwnedFd) {
        let mut vmm = fake(dir, "exec sleep 1000");
        let (ours, theirs) = packet::pair(SocketType::SEQPACKET).unwrap();
        vmm.control = Arc::new(ours);
        (vmm, theirs)
    }

    #[test]
    fn a_vmm_that_dies_without_a_word_is_reported_with_its_status_and_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut vmm = fake(dir.path(), "echo trouble >&2; exit 3");
        let error = vmm.next_event(Deadline::NEVER).unwrap_err();
        assert!(
            matches!(&error, VmmError::Died { how, log, .. } if how == "exited with code 3" && log == "trouble"),
            "{error:?}"
        );
        let mut vmm = fake(dir.path(), "kill -SEGV $$");
        let error = vmm.next_event(Deadline::NEVER).unwrap_err();
        assert!(
            matches!(&error, VmmError::Died { how, .. } if how == "was killed by signal 11"),
            "{error:?}"
        );
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("absent");
        let error =
            VmmProcess::spawn(&program, dir.path().join("c"), dir.path().join("l")).unwrap_err();
        assert!(matches!(error, VmmError::Spawn { path, .. } if path == program));
    }

    #[test]
    fn a_vmm_of_another_release_is_refused_before_it_is_told_anything() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vmm, theirs) = spoken_for(dir.path());
        packet::send(
            &theirs,
            &Event::Hello {
                version: VERSION,
                release: "9.9.9".into(),
            },
            &[],
            Deadline::NEVER,
        )
        .unwrap();
        let error = vmm.next_event(Deadline::NEVER).unwrap_err();
        assert!(error.to_string().contains("9.9.9"), "{error}");
    }

    #[test]
    fn an_order_that_a_dying_vmm_does_not_take_fails_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vmm, theirs) = spoken_for(dir.path());
        let end = End::Failed {
            step: proto::control::Step::OpenKvm,
            message: "no KVM".into(),
        };
        packet::send(&theirs, &Event::Ended(end), &[], Deadline::NEVER).unwrap();
        drop(theirs);
        let error = vmm.send(&Order::Pause, &[]).unwrap_err();
        assert!(
            matches!(
                error,
                VmmError::Failed {
                    step: proto::control::Step::OpenKvm,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_disk_of_many_pieces_arrives_whole_in_several_packets() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vmm, theirs) = spoken_for(dir.path());
        let file = File::create(dir.path().join("piece")).unwrap();
        let pieces: Vec<_> = (0..300)
            .map(|n| (file.try_clone().unwrap(), n * 512))
            .collect();
        vmm.set_disk(0, DiskMode::ReadOnly, &pieces).unwrap();
        let mut lens = Vec::new();
        for more in [true, false] {
            let mut packet = vec![0; proto::control::MAX_PACKET];
            let (_, len) =
                rustix::net::recv(&theirs, &mut packet[..], rustix::net::RecvFlags::empty())
                    .unwrap();
            let Order::SetDisk(disk) = proto::decode(&packet[..len]).unwrap() else {
                panic!("not a disk")
            };
            assert_eq!(disk.more, more);
            lens.extend(disk.pieces);
        }
        assert_eq!(lens, (0..300).map(|n| n * 512).collect::<Vec<u64>>());
    }

    #[test]
    fn a_deadline_without_an_event_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vmm, _theirs) = spoken_for(dir.path());
        assert_eq!(
            vmm.next_event(Deadline::after(Duration::from_millis(5)))
                .unwrap(),
            None
        );
        assert!(!vmm.has_ended());
    }
}
