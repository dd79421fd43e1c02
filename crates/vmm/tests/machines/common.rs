//! A library of our own on the other end of the VMM's control socket, and kernels of a few bytes.

use proto::control::{Boot, Command, Contents, Event, KernelFlavor, MAX_PACKET, Restore, VERSION};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command as Program};

/// A running `supermachine-vmm` and the control socket to it.
pub struct Vmm {
    /// None for a copy: its parent is the VMM that made it.
    pub child: Option<Child>,
    pub pid: u32,
    socket: Option<OwnedFd>,
    pub console: File,
}

impl Vmm {
    /// Starts one and takes its greeting.
    pub fn spawn() -> Self {
        let (ours, theirs) = control_pair();
        let child = Program::new(env!("CARGO_BIN_EXE_supermachine-vmm"))
            .stdin(theirs)
            .spawn()
            .unwrap();
        let console = tempfile::tempfile().unwrap();
        let vmm = Self {
            pid: child.id(),
            child: Some(child),
            socket: Some(ours),
            console,
        };
        assert!(matches!(
            vmm.event(),
            Some(Event::Hello {
                version: VERSION,
                ..
            })
        ));
        vmm
    }

    pub fn send(&self, command: &Command, descriptors: &[BorrowedFd<'_>]) {
        self.send_bytes(&proto::encode(command), descriptors);
    }

    pub fn send_bytes(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let socket = self.socket.as_ref().unwrap();
        sendmsg(
            socket,
            &[IoSlice::new(packet)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
    }

    /// The next event, or `None` when the VMM is gone.
    pub fn event(&self) -> Option<Event> {
        let mut packet = vec![0; MAX_PACKET];
        let (_, len) = recv(
            self.socket.as_ref().unwrap(),
            packet.as_mut_slice(),
            rustix::net::RecvFlags::empty(),
        )
        .unwrap();
        (len > 0).then(|| proto::decode(&packet[..len]).unwrap())
    }

    /// Boots `kernel`, offered under every flavor.
    pub fn boot(&self, kernel: &File, change: impl FnOnce(&mut Boot)) {
        let initramfs = file(b"not looked at by a kernel of a few bytes");
        self.boot_with(kernel, &initramfs, change);
    }

    /// The same with an initramfs.
    pub fn boot_with(&self, kernel: &File, initramfs: &File, change: impl FnOnce(&mut Boot)) {
        let mut boot = Boot {
            version: VERSION,
            vcpus: 1,
            memory_mib: 32,
            kernels: vec![KernelFlavor::Standard, KernelFlavor::SoftwareKvm],
            extra_cmdline: String::new(),
        };
        change(&mut boot);
        let mut descriptors = vec![kernel.as_fd(); boot.kernels.len()];
        descriptors.push(initramfs.as_fd());
        descriptors.push(self.console.as_fd());
        self.send(&Command::Boot(boot), &descriptors);
    }

    /// What the guest wrote to its console so far.
    pub fn console_text(&self) -> String {
        text_of(&self.console)
    }

    /// Closes the control socket and waits for the process to end.
    pub fn close(mut self) -> std::process::ExitStatus {
        self.socket = None;
        self.child.take().unwrap().wait().unwrap()
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        // A copy ends by this.
        self.socket = None;
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The whole of a file that somebody else may be writing: the position they share is left alone.
pub fn text_of(file: &File) -> String {
    let mut text = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut text, 0).unwrap();
    String::from_utf8(text).unwrap()
}

fn control_pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

const LOAD_ADDRESS: u64 = 0x10_0000;

/// An ELF file whose PVH entry (32-bit protected mode) is `code`.
pub fn kernel(code: &[u8]) -> File {
    const HEADERS: u64 = 64 + 2 * 56;
    const NOTE: u64 = 20;
    let mut elf = Vec::new();
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend(2_u16.to_le_bytes()); // executable
    elf.extend(62_u16.to_le_bytes()); // x86_64
    elf.extend(1_u32.to_le_bytes());
    elf.extend(LOAD_ADDRESS.to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // program headers
    elf.extend(0_u64.to_le_bytes()); // no sections
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let segment = |kind: u32, offset: u64, address: u64, size: u64| {
        let mut header = Vec::new();
        header.extend(kind.to_le_bytes());
        header.extend(7_u32.to_le_bytes());
        for field in [offset, address, address, size, size, 4] {
            header.extend(field.to_le_bytes());
        }
        header
    };
    elf.extend(segment(1, HEADERS + NOTE, LOAD_ADDRESS, code.len() as u64));
    elf.extend(segment(4, HEADERS, 0, NOTE));
    // XEN_ELFNOTE_PHYS32_ENTRY
    for word in [4_u32, 4, 18] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"Xen\0");
    elf.extend((LOAD_ADDRESS as u32).to_le_bytes());
    elf.extend(code);
    file(&elf)
}

/// `mov dx, 0x3f8`
pub const CONSOLE: [u8; 4] = [0x66, 0xba, 0xf8, 0x03];
/// `mov al, 0xfe; out 0x64, al; hlt`
pub const RESET: [u8; 5] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4];

/// `mov al, byte; out dx, al`
pub const fn print(byte: u8) -> [u8; 3] {
    [0xb0, byte, 0xee]
}

/// What a saved VM is made of: the two files of one save, and the memory of those below.
pub struct Saved {
    pub state: File,
    pub layers: Vec<File>,
    pub pages: u64,
}

impl Vmm {
    pub fn pause(&self) {
        self.send(&Command::Pause, &[]);
        assert_eq!(self.event(), Some(Event::Paused));
    }

    pub fn resume(&self) {
        self.send(&Command::Resume, &[]);
        assert_eq!(self.event(), Some(Event::Resumed));
    }

    /// Asks for a save into fresh files; `below` are the layers the VM was restored from, if only changes are wanted.
    pub fn save(&self, below: &[File]) -> Saved {
        let contents = if below.is_empty() {
            Contents::Everything
        } else {
            Contents::Changes
        };
        let (state, memory) = (file(b""), file(b""));
        self.ask_save(contents, &state, &memory);
        let Some(Event::Saved { pages }) = self.event() else {
            panic!("not saved");
        };
        let mut layers: Vec<_> = below.iter().map(|file| file.try_clone().unwrap()).collect();
        layers.push(memory);
        Saved {
            state,
            layers,
            pages,
        }
    }

    pub fn ask_save(&self, contents: Contents, state: &File, memory: &File) {
        let pagemap = File::open(format!("/proc/{}/pagemap", self.pid)).unwrap();
        self.send(
            &Command::Save(contents),
            &[state.as_fd(), memory.as_fd(), pagemap.as_fd()],
        );
    }

    /// A new process that continues what was saved.
    pub fn restored(saved: &Saved) -> Self {
        let vmm = Self::spawn();
        vmm.restore(saved);
        vmm
    }

    pub fn restore(&self, saved: &Saved) {
        self.restore_with(saved, None);
    }

    pub fn restore_with(&self, saved: &Saved, working_set: Option<&File>) {
        let restore = Restore {
            version: VERSION,
            layers: saved.layers.len() as u8,
            working_set: working_set.is_some(),
        };
        let mut descriptors = vec![self.console.as_fd(), saved.state.as_fd()];
        descriptors.extend(saved.layers.iter().chain(working_set).map(AsFd::as_fd));
        self.send(&Command::Restore(restore), &descriptors);
    }

    /// The pages this VM has written since it was restored, and how many.
    pub fn list_writes(&self) -> (File, u64) {
        let list = file(b"");
        let pagemap = File::open(format!("/proc/{}/pagemap", self.pid)).unwrap();
        self.send(&Command::ListWrites, &[list.as_fd(), pagemap.as_fd()]);
        match self.event() {
            Some(Event::WritesListed { pages: Ok(pages) }) => (list, pages),
            event => panic!("{event:?}"),
        }
    }

    /// A copy of this paused VM, made by its own process. It waits to be continued.
    pub fn fork(&self) -> Self {
        let (ours, theirs) = control_pair();
        self.send(&Command::Fork, &[theirs.as_fd()]);
        drop(theirs);
        let Some(Event::Forked { pid }) = self.event() else {
            panic!("not forked");
        };
        let copy = Self {
            child: None,
            pid: pid as u32,
            socket: Some(ours),
            console: tempfile::tempfile().unwrap(),
        };
        assert!(matches!(copy.event(), Some(Event::Hello { .. })));
        copy
    }

    /// Lets a copy go on.
    pub fn go_on(&self) {
        let restore = Restore {
            version: VERSION,
            layers: 0,
            working_set: false,
        };
        self.send(&Command::Restore(restore), &[self.console.as_fd()]);
        assert!(matches!(self.event(), Some(Event::Running { .. })));
    }

    /// Waits until the console has this text.
    pub fn wait_for_text(&self, text: &str) {
        while !self.console_text().contains(text) {
            std::thread::yield_now();
        }
    }

    /// Waits until the console has at least `len` bytes more than it has now: for a guest that never stops.
    pub fn wait_for_output(&self, len: usize) {
        let wanted = self.console_text().len() + len;
        while self.console_text().len() < wanted {
            std::thread::yield_now();
        }
    }
}
