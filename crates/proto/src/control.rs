//! Library and `supermachine-vmm`, over the sequenced-packet socket that is the VMM's standard input.
//!
//! One packet is one message; descriptors ride in the packet that names them. The VMM opens no path but
//! /dev/kvm: every file it uses came over this socket. When the socket closes, the VM ends.
//!
//! ```text
//! library                              vmm
//!  |                  <------- Hello    |
//!  | SetDisk*, SetNetwork, Boot ------> |   disks before the boot; SetDisk later swaps one
//!  |                  <------- Running  |   vCPUs entered the guest
//!  |                  <------- Ready    |   the guest's agent listens
//!  | Connect + stream ------->          |   the other end of `stream` is the caller's
//!  | Pause, Resume    ------->          |
//!  |           <------- Paused, Resumed |
//!  | Save + files     ------->          |   of a VM that is paused
//!  |           <------- Saved, SaveFailed |
//!  | UpdateNetwork    ------->          |   what may be reached from now on, and how fast
//!  |           <------- NetworkUpdated  |
//!  | Fork + socket    ------->          |   a copy of a paused VM, which speaks on `socket`
//!  |         <------- Forked, ForkFailed |
//!  | (close)          ------->          |   the VM is killed
//!  |                  <------- Ended    |   the guest powered off, or something failed
//! ```
//!
//! A VM that was saved goes on in a new process: `SetDisk*, Restore` in the place of `SetDisk*, Boot`, then
//! `Running`. There is no `Ready`: the agent listens already. A forked VM starts the same way, on its own socket.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use serde::{Deserialize, Serialize};

/// Version of this conversation. Both ends come from one build; the check catches mixed installations.
pub const VERSION: u16 = 6;

/// The largest packet either side sends.
pub const MAX_PACKET: usize = 64 << 10;

/// The most descriptors one packet carries (the kernel's SCM_MAX_FD is 253).
pub const MAX_DESCRIPTORS: usize = 250;

/// Library to VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Puts a disk into a slot (see [`crate::guest::disk`]); before `Boot` or while the VM runs.
    /// Descriptors: one per piece, in order.
    SetDisk(Disk),
    /// Builds the VM and runs it. Descriptors: the kernels in the order of [`Boot::kernels`], then the
    /// initramfs, then the console log (written at its end).
    Boot(Boot),
    /// Builds the VM that was saved and lets it go on. Every connection of its old life is reset; a disk whose
    /// size is not the one it had is announced to the guest. Descriptors: the console log (written at its end),
    /// the state file, then a file for each memory layer, the oldest first, then the working set if there is one. For
    /// the copy that [`Command::Fork`] made: the console log alone.
    Restore(Restore),
    /// Connects the descriptor (one end of a stream socketpair) to a port of the guest. If the guest
    /// refuses, the descriptor is closed.
    Connect {
        /// Guest port.
        port: u32,
    },
    /// Stops every vCPU and device, answers `Paused`.
    Pause,
    /// Continues, answers `Resumed`.
    Resume,
    /// Writes down a paused VM, which stays paused. Descriptors: an empty state file, an empty memory file, and
    /// /proc/PID/pagemap of the VMM (it opens no path itself).
    Save(Contents),
    /// Lists the pages that a VM has written since it was restored, for later restores of the same layers; the VM goes
    /// on meanwhile. Descriptors: an empty file for the list and /proc/PID/pagemap of the VMM.
    ListWrites,
    /// Makes a copy of a paused VM, which stays paused. Descriptor: the control socket of the copy, a process that
    /// starts with `Hello` and waits for disks and [`Command::Restore`].
    Fork,
    /// Gives the network card a network; before `Boot` or `Restore`. Without it nobody is at the other end of the link.
    /// Descriptors: a bound socket for each of [`Network::ports`], in order; those of TCP listen.
    SetNetwork(Network),
    /// Has other rules and limits hold on the network that the card has; answers `NetworkUpdated`. Connections that the
    /// rules refuse are reset.
    UpdateNetwork {
        /// What may be reached.
        policy: Policy,
        /// How much may pass.
        limits: Limits,
    },
    /// Tells what has passed the network card; answers `Traffic`.
    CountTraffic,
    /// Who has an address of [`Network::subnet`]: another member, to whom the descriptor leads (an end of a pair of
    /// sequenced-packet sockets, a packet per message, whose other end another VMM has), or nobody, without one.
    /// Answers [`Event::MemberSought`], or comes unasked.
    SetMember {
        /// The member's.
        address: [u8; 4],
    },
    /// Answers [`Event::NameSought`].
    SetName {
        /// As it was asked for.
        name: String,
        /// Of the member that has the name, if one has.
        address: Option<[u8; 4]>,
    },
}

/// What to continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// [`VERSION`] of the library.
    pub version: u16,
    /// Number of memory layers. The first has everything; each of the others has what differs from those before it.
    pub layers: u8,
    /// Whether the last descriptor is a working set: pages that are going to be written, made ready at one go. One that
    /// cannot be used is ignored.
    pub working_set: bool,
}

/// What a saved memory file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Every page that is not zero.
    Everything,
    /// The pages that were written since the VM was restored. Its memory is the layers it was restored from and this.
    Changes,
}

/// A disk is made of pieces. A capacity of 0 (no pieces) empties the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Slot number.
    pub slot: u8,
    /// What the guest may do with it.
    pub mode: DiskMode,
    /// How the pieces make the disk.
    pub shape: DiskShape,
    /// Bytes each piece contributes, multiples of 512; a file may be longer than what it contributes.
    pub pieces: Vec<u64>,
    /// More pieces follow in another `SetDisk` of the same slot.
    pub more: bool,
}

/// How files make a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskShape {
    /// One after the other.
    Concatenated,
    /// One upon the other, the lowest first, all of the same length: where one has a hole, the one below shows. Only
    /// the last is written. In one message.
    Layered,
}

/// What a guest may do with a disk, and what becomes of what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskMode {
    /// Read. The only mode of the root's slot.
    ReadOnly,
    /// Write; a flush by the guest reaches the host's disk before it is answered.
    Durable,
    /// Write; the disk goes when the VM goes, so a flush has nothing to protect and is answered at once.
    Volatile,
}

/// The network behind the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The guest's hardware address.
    pub mac: [u8; 6],
    /// The guest's address.
    pub v4: [u8; 4],
    /// The guest's IPv6 address, if it has IPv6.
    pub v6: Option<[u8; 16]>,
    /// What may be reached.
    pub policy: Policy,
    /// How much may pass.
    pub limits: Limits,
    /// The host's name servers, as address and port.
    pub name_servers: Vec<String>,
    /// Ports of the host that lead to the guest's.
    pub ports: Vec<Port>,
    /// The addresses of the network that the guest is a member of, if it is of one.
    pub subnet: Option<Subnet>,
}

/// The addresses of a network with several members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The lowest one.
    pub address: [u8; 4],
    /// How many bits they have in common.
    pub prefix: u8,
}

/// What a VM may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Where no rule says otherwise.
    pub reach: Reach,
    /// `allow:` and `deny:` with what they are about, the first that matches decides.
    pub rules: Vec<String>,
}

/// What may pass a network card in a second; absent is whatever comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes that the guest sends.
    pub up: Option<NonZeroU64>,
    /// Bytes that the guest is sent.
    pub down: Option<NonZeroU64>,
    /// Frames, each way.
    pub packets: Option<NonZeroU64>,
}

/// What has passed a network card in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// How often one had to wait because of a limit.
    pub held: u64,
}

/// What has passed a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// From the guest.
    pub up: Passed,
    /// To the guest.
    pub down: Passed,
}

/// What a VM may reach where no rule says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Public addresses that are not the host's.
    Public,
    /// Whatever the host reaches, itself included.
    Full,
    /// Nothing, whatever the rules say, and no name is answered.
    Nothing,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The guest's.
    pub guest: u16,
    /// Datagrams instead of connections.
    pub udp: bool,
}

/// What to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// [`VERSION`] of the library.
    pub version: u16,
    /// Number of virtual CPUs.
    pub vcpus: u8,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// The kernels on offer; the VMM takes the one this host's KVM needs.
    pub kernels: Vec<KernelFlavor>,
    /// Words appended to the kernel command line.
    pub extra_cmdline: String,
}

/// Guest kernels are built in two flavors from one source and one config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KernelFlavor {
    /// For KVM with hardware virtualization. SMP.
    Standard,
    /// For software KVM. One CPU.
    SoftwareKvm,
}

impl KernelFlavor {
    /// The name used in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::SoftwareKvm => "software-kvm",
        }
    }
}

/// VMM to library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// First packet: who is there.
    Hello {
        /// [`VERSION`] of the VMM.
        version: u16,
        /// The VMM's release, for the error when versions differ.
        release: String,
    },
    /// Every vCPU is about to enter the guest.
    Running {
        /// The kernel that was chosen.
        kernel: KernelFlavor,
        /// Microseconds from the start of the VMM process to this point.
        since_start_us: u64,
    },
    /// The guest's agent listens.
    Ready {
        /// Microseconds from the start of the VMM process to this point.
        since_start_us: u64,
    },
    /// Answers `Pause`.
    Paused,
    /// Answers `Resume`.
    Resumed,
    /// Answers `UpdateNetwork`: the rules and limits hold.
    NetworkUpdated,
    /// Answers `CountTraffic`; nothing has passed without a network.
    Traffic(Traffic),
    /// Answers `Save`.
    Saved {
        /// Pages of 4 KiB in the memory file.
        pages: u64,
    },
    /// `Save` could not be carried out; what the files hold is worth nothing. The VM is as it was before.
    SaveFailed {
        /// What failed and why, for people.
        message: String,
    },
    /// Answers `ListWrites`; if it failed, the list is not to be used.
    WritesListed {
        /// Pages in the list, or why there is none.
        pages: Result<u64, String>,
    },
    /// Answers `Fork`. Descriptor: a pidfd of the copy.
    Forked {
        /// Process id of the copy's VMM.
        pid: i32,
    },
    /// `Fork` could not be carried out. The VM is as it was before.
    ForkFailed {
        /// What failed and why, for people.
        message: String,
    },
    /// The VM is over; the last packet.
    Ended(End),
    /// A host file behind a disk failed; the guest saw an I/O error. Sent for the first failure of a slot.
    DiskFailed {
        /// Which disk.
        slot: u8,
        /// What failed and why, for people.
        message: String,
    },
    /// The guest wanted to go where it may not. Sent once for each of the first destinations.
    EgressRefused {
        /// `tcp`, `udp` or `ping`, and where to.
        flow: String,
        /// The rule, or what kind of address it is.
        reason: String,
        /// Refusals so far, these and others.
        total: u64,
    },
    /// The guest has something for an address of its network. Not sent again before it is answered by
    /// [`Command::SetMember`].
    MemberSought {
        /// Whose.
        address: [u8; 4],
    },
    /// The guest asks for a name, which may be that of a member of its network. Not sent again before it is answered by
    /// [`Command::SetName`].
    NameSought {
        /// In lower case, without the last dot.
        name: String,
    },
}

/// Why a VM ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The guest reset or powered itself off. The console's last lines tell a panic from an orderly end.
    GuestReset,
    /// The VMM could not go on.
    Failed {
        /// Which step.
        step: Step,
        /// What happened and what to do about it, for people.
        message: String,
    },
}

/// Steps of a VM's life that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A message of the library was malformed or out of order.
    Protocol,
    /// /dev/kvm cannot be opened: absent, or not permitted.
    OpenKvm,
    /// KVM lacks something we need, or refused to make a VM.
    CreateVm,
    /// Guest memory could not be allocated.
    Memory,
    /// No kernel for this host, or it could not be loaded.
    Kernel,
    /// The host cannot give what the configuration asks for (vCPUs on software KVM).
    Config,
    /// A saved VM cannot be continued here: damaged, of another version, of another CPU.
    Restore,
    /// A vCPU stopped in a way no guest should cause.
    Vcpu,
    /// A device could not be made or failed.
    Device,
    /// The VMM's own event loop failed.
    EventLoop,
}
