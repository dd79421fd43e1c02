//! The life of the process: wait for a boot, then serve the library and the devices until the VM is over.

use crate::control::{ControlSocket, Received};
use crate::disks::DiskSet;
use crate::error::VmmError;
use crate::event::Token;
use crate::machine::{BootFiles, Machine, Running};
use crate::os::{KickSignal, Poller, Watch};
use proto::control::{Command, End, Event, Step};
use proto::guest::READY_PORT;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Runs a VM from its configuration to its end. `None`: the library went away.
pub fn run(control: &ControlSocket, started: Instant) -> Result<Option<End>, VmmError> {
    let mut disks = DiskSet::default();
    let Some(machine) = configure(control, &mut disks)? else {
        return Ok(None);
    };
    KickSignal::install().map_err(VmmError::at(Step::Vcpu, "cannot install the kick signal"))?;
    let kernel = machine.kernel;
    let ended = Ended::new()?;
    let notice = ended.notice()?;
    control.send(&Event::Running {
        kernel,
        since_start_us: micros(started),
    });
    let machine = machine.start(notice)?;
    let mut session = Session {
        control,
        machine,
        disks,
        ready: false,
        paused: false,
        started,
    };
    let end = session.serve(&ended);
    session.machine.flush();
    end
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Collects disks until the library says what to boot.
fn configure(control: &ControlSocket, disks: &mut DiskSet) -> Result<Option<Machine>, VmmError> {
    loop {
        match control.receive()? {
            Received::Command(Command::SetDisk(disk), files) => {
                disks.add(&disk, files)?;
            }
            Received::Command(Command::Boot(boot), files) => {
                let files = BootFiles::new(&boot, files)?;
                return Machine::build(&boot, files, disks, control).map(Some);
            }
            Received::Command(command, _) => {
                let message = format!("{command:?} makes no sense before a boot");
                return Err(VmmError::new(Step::Protocol, message));
            }
            Received::Closed => return Ok(None),
            Received::Empty => {}
        }
    }
}

/// How a vCPU thread tells the event loop that the VM is over.
struct Ended {
    event: OwnedFd,
    sender: std::sync::mpsc::Sender<End>,
    receiver: Receiver<End>,
}

impl Ended {
    fn new() -> Result<Self, VmmError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(VmmError::at(Step::EventLoop, "cannot make an event"))?;
        let (sender, receiver) = channel();
        Ok(Self {
            event,
            sender,
            receiver,
        })
    }

    fn notice(&self) -> Result<impl Fn(End) + Send + Clone + 'static, VmmError> {
        let event = self
            .event
            .try_clone()
            .map_err(VmmError::at(Step::EventLoop, "cannot make an event"))?;
        let event = std::sync::Arc::new(event);
        let sender = self.sender.clone();
        Ok(move |end| {
            // The loop only stops listening when the process ends.
            let _ = sender.send(end);
            let _ = rustix::io::write(&*event, &1_u64.to_ne_bytes());
        })
    }
}

/// A running VM and its library.
struct Session<'a> {
    control: &'a ControlSocket,
    machine: Running,
    disks: DiskSet,
    ready: bool,
    paused: bool,
    started: Instant,
}

/// Whether to go on after a message.
enum Next {
    Continue,
    LibraryGone,
}

impl Session<'_> {
    fn serve(&mut self, ended: &Ended) -> Result<Option<End>, VmmError> {
        let failed = || VmmError::at(Step::EventLoop, "the event loop failed");
        let poller = Poller::new().map_err(failed())?;
        poller
            .add(self.control, Token::Control.into(), Watch::Readable)
            .map_err(failed())?;
        poller
            .add(&ended.event, Token::Ended.into(), Watch::Readable)
            .map_err(failed())?;
        poller
            .add(
                self.machine.poller(),
                Token::Devices.into(),
                Watch::Readable,
            )
            .map_err(failed())?;
        loop {
            for event in poller.wait().map_err(failed())? {
                match Token::from_bits(event.token) {
                    Some(Token::Control) => {
                        if matches!(self.command(&poller)?, Next::LibraryGone) {
                            return Ok(None);
                        }
                    }
                    Some(Token::Ended) => {
                        if let Ok(end) = ended.receiver.try_recv() {
                            return Ok(Some(end));
                        }
                    }
                    Some(Token::Devices) if !self.paused => self.devices().map_err(failed())?,
                    _ => {}
                }
            }
        }
    }

    fn devices(&mut self) -> std::io::Result<()> {
        let batch = self.machine.poller().ready()?;
        let knocked = self.machine.serve(&batch);
        if !self.ready && knocked.contains(&READY_PORT) {
            self.ready = true;
            self.control.send(&Event::Ready {
                since_start_us: micros(self.started),
            });
        }
        Ok(())
    }

    /// Handles what the library says, one message at a time.
    fn command(&mut self, poller: &Poller) -> Result<Next, VmmError> {
        let failed = || VmmError::at(Step::EventLoop, "the event loop failed");
        let (command, files) = match self.control.try_receive()? {
            Received::Command(command, files) => (command, files),
            Received::Empty => return Ok(Next::Continue),
            Received::Closed => return Ok(Next::LibraryGone),
        };
        match command {
            Command::Connect { port } => self.machine.connect(only(files)?, port)?,
            Command::SetDisk(disk) => {
                if let Some(slot) = self.disks.add(&disk, files)? {
                    self.machine.set_disk(slot, &mut self.disks)?;
                }
            }
            Command::Pause if !self.paused => {
                poller.remove(self.machine.poller()).map_err(failed())?;
                self.machine.pause();
                self.paused = true;
                self.control.send(&Event::Paused);
            }
            Command::Resume if self.paused => {
                self.paused = false;
                self.machine.resume();
                poller
                    .add(
                        self.machine.poller(),
                        Token::Devices.into(),
                        Watch::Readable,
                    )
                    .map_err(failed())?;
                self.control.send(&Event::Resumed);
            }
            Command::Pause => self.control.send(&Event::Paused),
            Command::Resume => self.control.send(&Event::Resumed),
            Command::Boot(_) => return Err(VmmError::new(Step::Protocol, "a VM boots once")),
        }
        Ok(Next::Continue)
    }
}

fn only(files: Vec<OwnedFd>) -> Result<OwnedFd, VmmError> {
    <[OwnedFd; 1]>::try_from(files)
        .map(|[file]| file)
        .map_err(|files| {
            VmmError::new(
                Step::Protocol,
                format!("one descriptor expected, {} came", files.len()),
            )
        })
}
