//! The life of the process: wait for a boot, then serve the library and the devices until the VM is over.

use crate::control::{ControlSocket, Received};
use crate::disks::DiskSet;
use crate::error::VmmError;
use crate::event::Token;
use crate::machine::{BootFiles, Machine, Running, Source};
use crate::memory::Ram;
use crate::network::NetworkSet;
use crate::os::{Forked, KickSignal, Poller, Watch, fork};
use proto::control::{Command, Contents, End, Event, Step};
use proto::guest::READY_PORT;
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// What a copy of a VMM has of the original.
pub struct Inherited {
    /// The sections of its state.
    pub state: Vec<u8>,
    /// Its memory.
    pub ram: Ram,
}

/// Runs a VM from its configuration to its end. `None`: the library went away.
pub fn run(
    control: &ControlSocket,
    started: Instant,
    inherited: Option<Inherited>,
) -> Result<Option<End>, VmmError> {
    let mut disks = DiskSet::default();
    let Some((machine, life)) = configure(control, &mut disks, inherited)? else {
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
        ready: life == Life::Continued,
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

/// Whether the guest knows a life before this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    New,
    Continued,
}

/// Collects disks until the library says what to boot or to continue.
fn configure(
    control: &ControlSocket,
    disks: &mut DiskSet,
    inherited: Option<Inherited>,
) -> Result<Option<(Machine, Life)>, VmmError> {
    let mut network = NetworkSet::default();
    loop {
        match control.receive()? {
            Received::Command(Command::SetDisk(disk), files) => {
                disks.add(&disk, files)?;
            }
            Received::Command(Command::SetNetwork(described), files) => {
                network = NetworkSet::new(&described, files)?;
            }
            Received::Command(Command::Boot(boot), files) => {
                let files = BootFiles::new(&boot, files)?;
                let machine = Machine::boot(&boot, files, (disks, &mut network), control)?;
                return Ok(Some((machine, Life::New)));
            }
            Received::Command(Command::Restore(restore), files) => {
                let (console, source) = Source::new(&restore, files, inherited)?;
                let machine = Machine::restore(source, console, (disks, &mut network), control)?;
                return Ok(Some((machine, Life::Continued)));
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
            Command::Connect { port } => {
                let [stream] = exactly(files)?;
                self.machine.connect(stream, port)?;
            }
            Command::SetDisk(disk) => {
                if let Some(slot) = self.disks.add(&disk, files)? {
                    self.machine.set_disk(slot, &mut self.disks)?;
                }
            }
            Command::SetMember { address } => {
                let network = self.machine.network();
                network.set_member(address.into(), files.into_iter().next());
            }
            Command::SetName { name, address } => {
                let network = self.machine.network();
                network.set_name(&name, address.map(Into::into));
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
            Command::UpdateNetwork { policy, limits } => {
                self.machine.network().update(&policy, limits)?;
                self.control.send(&Event::NetworkUpdated);
            }
            Command::CountTraffic => {
                let traffic = self.machine.network().traffic();
                self.control.send(&Event::Traffic(traffic));
            }
            Command::Pause => self.control.send(&Event::Paused),
            Command::Resume => self.control.send(&Event::Resumed),
            Command::Save(contents) => {
                let event = match self.save(contents, files) {
                    Ok(pages) => Event::Saved { pages },
                    Err(error) => Event::SaveFailed {
                        message: error.message,
                    },
                };
                self.control.send(&event);
            }
            Command::ListWrites => {
                let [list, pagemap] = exactly(files)?.map(File::from);
                let pages = self.machine.list_writes(&list, &pagemap);
                self.control.send(&Event::WritesListed {
                    pages: pages.map_err(|error| error.to_string()),
                });
            }
            Command::Fork => match self.fork(files) {
                Ok(forked) => self
                    .control
                    .send_with(&Event::Forked { pid: forked.pid }, &[forked.pidfd.as_fd()]),
                Err(error) => self.control.send(&Event::ForkFailed {
                    message: error.message,
                }),
            },
            Command::Boot(_) | Command::Restore(_) | Command::SetNetwork(_) => {
                return Err(VmmError::new(Step::Protocol, "a VM starts once"));
            }
        }
        Ok(Next::Continue)
    }

    fn save(&self, contents: Contents, files: Vec<OwnedFd>) -> Result<u64, VmmError> {
        self.check_paused()?;
        let [state, memory, pagemap] = exactly(files)?.map(File::from);
        self.machine.save(contents, &state, &memory, &pagemap)
    }

    /// Copies this process; the copy builds a machine of its own over the memory it inherited.
    fn fork(&self, files: Vec<OwnedFd>) -> Result<Forked, VmmError> {
        self.check_paused()?;
        let [control] = exactly(files)?;
        let state = self.machine.save_state()?;
        let ram = self.machine.ram();
        fork(control.as_fd(), &ram.descriptors(), || {
            let inherited = Inherited {
                state,
                ram: ram.clone(),
            };
            crate::serve_copy(inherited)
        })
        .map_err(VmmError::at(Step::Memory, "cannot copy the VMM"))
    }

    fn check_paused(&self) -> Result<(), VmmError> {
        if self.paused {
            Ok(())
        } else {
            Err(VmmError::new(Step::Protocol, "the VM is not paused"))
        }
    }
}

fn exactly<const N: usize>(files: Vec<OwnedFd>) -> Result<[OwnedFd; N], VmmError> {
    <[OwnedFd; N]>::try_from(files).map_err(|files| {
        let message = format!("{N} descriptors expected, {} came", files.len());
        VmmError::new(Step::Protocol, message)
    })
}
