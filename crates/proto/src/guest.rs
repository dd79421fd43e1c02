//! What host and guest agree on outside of any message.

/// The vsock port the guest's agent listens on.
pub const AGENT_PORT: u32 = 1024;

/// The host port the guest's agent knocks on when it listens.
///
/// The VMM refuses the connection like any other the guest starts, and takes the attempt as the sign of
/// readiness: nothing stays open that a snapshot could freeze.
pub const READY_PORT: u32 = 1;

/// The guest's context id on its vsock device. There is one guest per VMM, so it never varies.
pub const GUEST_CID: u64 = 3;

/// PID 1's first words on the console, written before it does anything else.
pub const FIRST_LINE: &str = "supermachine: init";

/// A console line with this prefix carries the reason PID 1 gave up; the VM powers off after it.
pub const FATAL_PREFIX: &str = "supermachine: fatal: ";

/// A console line with this prefix says why the agent is no more; the VM powers off after it.
pub const AGENT_DIED_PREFIX: &str = "supermachine: agent died: ";

/// The network card, as the guest's kernel names it, and the MTU of its link: it never leaves the host's memory, so it
/// may be as large as headers can say, less some room.
pub mod card {
    /// Name.
    pub const NAME: &str = "eth0";
    /// MTU.
    pub const MTU: u16 = 65_520;
}

/// Block device slots, in the order their drivers probe: `/dev/vda`, `/dev/vdb`, then data disks.
pub mod disk {
    /// The image's read-only root (erofs).
    pub const ROOT: u8 = 0;
    /// The writable layer (ext4).
    pub const SCRATCH: u8 = 1;
    /// The first of the data disks.
    pub const DATA: u8 = 2;
    /// How many slots there are in all.
    pub const COUNT: u8 = 6;
}
