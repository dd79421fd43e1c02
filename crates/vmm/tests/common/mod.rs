//! A library of our own on the other end of the VMM's control socket, and kernels of a few bytes.

use proto::control::{Boot, Command, Event, KernelFlavor, MAX_PACKET, VERSION};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command as Program};

/// A running `supermachine-vmm` and the control socket to it.
pub struct Vmm {
    pub child: Child,
    socket: Option<OwnedFd>,
    pub console: File,
}

impl Vmm {
    /// Starts one and takes its greeting.
    pub fn spawn() -> Self {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let child = Program::new(env!("CARGO_BIN_EXE_supermachine-vmm"))
            .stdin(theirs)
            .spawn()
            .unwrap();
        let console = tempfile::tempfile().unwrap();
        let vmm = Self {
            child,
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
        let mut boot = Boot {
            version: VERSION,
            vcpus: 1,
            memory_mib: 32,
            kernels: vec![KernelFlavor::Standard, KernelFlavor::SoftwareKvm],
            extra_cmdline: String::new(),
        };
        change(&mut boot);
        let initramfs = file(b"not looked at by a kernel of a few bytes");
        let mut descriptors = vec![kernel.as_fd(); boot.kernels.len()];
        descriptors.push(initramfs.as_fd());
        descriptors.push(self.console.as_fd());
        self.send(&Command::Boot(boot), &descriptors);
    }

    /// What the guest wrote to its console so far.
    pub fn console_text(&self) -> String {
        let mut console = self.console.try_clone().unwrap();
        console.rewind().unwrap();
        let mut text = String::new();
        console.read_to_string(&mut text).unwrap();
        text
    }

    /// Closes the control socket and waits for the process to end.
    pub fn close(mut self) -> std::process::ExitStatus {
        self.socket = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
