//! Ourselves: `supermachine-vmm`, driven over its control socket as the library does it.

use super::console::{Console, Deadline};
use super::programs::Programs;
use anyhow::{Context, Result, bail};
use proto::control::{
    Boot, Command as Order, Contents, Disk, DiskMode, DiskShape, Event, KernelFlavor, MAX_PACKET,
    Restore, VERSION,
};
use proto::guest::{AGENT_PORT, FIRST_LINE, disk};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running VM of ours. It ends with the value.
pub struct Microvm {
    process: Child,
    control: Option<OwnedFd>,
    console: Console,
}

/// When things happened, counted from just before the process was started.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The VMM had built the machine and was about to enter the guest.
    pub running: Duration,
    /// The first line of PID 1 was on the console.
    pub line: Duration,
    /// The agent listened.
    pub ready: Duration,
}

/// A VM in two files.
pub struct Saved {
    state: File,
    memory: File,
    /// Bytes of memory that were written.
    pub bytes: u64,
}

impl Microvm {
    /// Boots a guest of this size without any image and returns when its agent listens.
    pub fn boot(programs: &Programs, memory_mib: u32) -> Result<(Self, Times)> {
        Self::boot_with(programs, memory_mib, &[])
    }

    /// The same with disks: a slot and a file each.
    pub fn boot_with(
        programs: &Programs,
        memory_mib: u32,
        disks: &[(u8, &Path)],
    ) -> Result<(Self, Times)> {
        let started = Instant::now();
        let (mut vm, writer) = Self::spawn(programs)?;
        for (slot, path) in disks {
            vm.send_disk(*slot, path)?;
        }
        vm.send_boot(programs, memory_mib, writer.as_fd())?;
        drop(writer);
        let times = vm.watch(started)?;
        Ok((vm, times))
    }

    /// Lets a saved VM go on; returns how long it took from before the process was started until its vCPU was about
    /// to enter the guest.
    pub fn restore(programs: &Programs, saved: &Saved) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let (vm, console) = Self::spawn(programs)?;
        let order = Order::Restore(Restore {
            version: VERSION,
            layers: 1,
            working_set: false,
        });
        let files = [console.as_fd(), saved.state.as_fd(), saved.memory.as_fd()];
        vm.send(&order, &files)?;
        vm.expect(|event| matches!(event, Event::Running { .. }))?;
        Ok((vm, started.elapsed()))
    }

    /// Writes the VM down; it stays paused.
    pub fn save(&self) -> Result<Saved> {
        let (state, memory) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let pagemap = File::open(format!("/proc/{}/pagemap", self.pid()))?;
        self.send(&Order::Pause, &[])?;
        let files = [state.as_fd(), memory.as_fd(), pagemap.as_fd()];
        self.send(&Order::Save(Contents::Everything), &files)?;
        let saved = self.expect(|event| matches!(event, Event::Saved { .. }))?;
        let Event::Saved { pages } = saved else {
            bail!("{saved:?}");
        };
        Ok(Saved {
            state,
            memory,
            bytes: pages * 4096,
        })
    }

    /// A process that waits for its orders, and where its console's output goes in.
    fn spawn(programs: &Programs) -> Result<(Self, PipeWriter)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let process = Command::new(programs.vmm())
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .context("start supermachine-vmm")?;
        let (reader, writer) = std::io::pipe()?;
        let vm = Self {
            process,
            control: Some(ours),
            console: Console::new(reader),
        };
        Ok((vm, writer))
    }

    /// Of the VMM's process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A stream to the guest's agent.
    pub fn connect(&self) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.send(&Order::Connect { port: AGENT_PORT }, &[theirs.as_fd()])?;
        Ok(ours)
    }

    fn send_disk(&self, slot: u8, path: &Path) -> Result<()> {
        let root = slot == disk::ROOT;
        let file = File::options()
            .read(true)
            .write(!root)
            .open(path)
            .with_context(|| path.display().to_string())?;
        let disk = Disk {
            slot,
            mode: if root {
                DiskMode::ReadOnly
            } else {
                DiskMode::Durable
            },
            shape: DiskShape::Concatenated,
            pieces: vec![file.metadata()?.len()],
            more: false,
        };
        self.send(&Order::SetDisk(disk), &[file.as_fd()])
    }

    fn send_boot(
        &self,
        programs: &Programs,
        memory_mib: u32,
        console: BorrowedFd<'_>,
    ) -> Result<()> {
        let kernel = File::open(programs.kernel())?;
        let initramfs = File::open(programs.initramfs())?;
        let order = Order::Boot(Boot {
            version: VERSION,
            vcpus: 1,
            memory_mib,
            kernels: vec![match programs.flavor {
                crate::kernel::Flavor::Standard => KernelFlavor::Standard,
                crate::kernel::Flavor::SoftwareKvm => KernelFlavor::SoftwareKvm,
            }],
            extra_cmdline: String::new(),
        });
        self.send(&order, &[kernel.as_fd(), initramfs.as_fd(), console])
    }

    fn send(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            bail!("the files do not fit into a packet");
        }
        sendmsg(
            self.control()?,
            &[IoSlice::new(&proto::encode(order))],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .context("send an order to supermachine-vmm")?;
        Ok(())
    }

    /// Waits for an event.
    fn expect(&self, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let deadline = Deadline::start();
        loop {
            deadline.wait([self.control()?])?;
            match self.event()? {
                Event::SaveFailed { message } => bail!("{message}"),
                event if wanted(&event) => return Ok(event),
                _ => {}
            }
        }
    }

    fn watch(&mut self, started: Instant) -> Result<Times> {
        let deadline = Deadline::start();
        let (mut running, mut line, mut ready) = (None, None, None);
        loop {
            if let (Some(running), Some(line), Some(ready)) = (running, line, ready) {
                return Ok(Times {
                    running,
                    line,
                    ready,
                });
            }
            let [console, control] = deadline
                .wait([self.console.fd(), self.control()?])
                .with_context(|| self.console.shown())?;
            if console {
                self.console.read()?;
                if line.is_none() && self.console.has(FIRST_LINE) {
                    line = Some(started.elapsed());
                }
            }
            if control {
                match self.event()? {
                    Event::Running { .. } => running = Some(started.elapsed()),
                    Event::Ready { .. } => ready = Some(started.elapsed()),
                    _ => {}
                }
            }
        }
    }

    /// Takes an event; the end of the VM is an error.
    fn event(&self) -> Result<Event> {
        let mut packet = vec![0; MAX_PACKET];
        let (_, length) = recv(self.control()?, packet.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 {
            bail!("supermachine-vmm ended; {}", self.console.shown());
        }
        match proto::decode(&packet[..length])? {
            Event::Hello { version, release } if version != VERSION => {
                bail!("supermachine-vmm {release} speaks control version {version}, not {VERSION}")
            }
            Event::Ended(end) => bail!("{end:?}; {}", self.console.shown()),
            event => Ok(event),
        }
    }

    fn control(&self) -> Result<BorrowedFd<'_>> {
        self.control
            .as_ref()
            .map(AsFd::as_fd)
            .context("the control socket is closed")
    }
}

impl Drop for Microvm {
    fn drop(&mut self) {
        // The VM ends with its socket; a VMM that does not obey is killed. Either way it is collected.
        self.control = None;
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
