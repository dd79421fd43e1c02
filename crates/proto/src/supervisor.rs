//! A later command (`exec`, `stop`, `wait`, ...) and the supervisor of a running VM, over the
//! sequenced-packet socket that the VM's record names. One packet is one message.

use crate::control::{Limits, Reach, Traffic};
use crate::happening::Happening;
use crate::session::Exit;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of this conversation.
pub const VERSION: u16 = 6;

/// The largest packet either side sends.
pub const MAX_PACKET: usize = 64 << 10;

/// Client to supervisor; one per connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the client.
    pub version: u16,
    /// The id of the VM that is meant. The address of a VM that has ended may be another one's by now.
    pub vm: String,
    /// What is asked.
    pub body: RequestBody,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// A stream to the guest's agent. The answer carries the descriptor; no proxy copies bytes.
    Connect,
    /// Stop signal, then KILL after the grace period. Answered when the VM is gone.
    Stop {
        /// Overrides the image's stop signal.
        signal: Option<i32>,
        /// Milliseconds until KILL.
        grace_ms: u64,
    },
    /// End the VM at once. Answered when it is gone.
    Kill,
    /// A signal for the workload.
    Signal(i32),
    /// Answered when the workload has ended.
    Wait,
    /// Stop the vCPUs.
    Pause,
    /// Continue.
    Resume,
    /// Call the VM this from now on.
    Rename {
        /// One that is not taken.
        name: String,
    },
    /// What has passed the VM's network card in this life. Answered by [`Reply::Traffic`].
    CountTraffic,
    /// Change what the VM may reach, and how fast. Answered when that holds.
    UpdateNetwork(NetworkUpdate),
    /// Write the VM down as a snapshot of this name; it goes on.
    Snapshot {
        /// One that is not taken.
        name: String,
    },
    /// Make copies of the VM; it goes on. Answered by one [`Reply::Forked`] for each, then `Done`.
    Fork {
        /// How many.
        count: u32,
    },
    /// The streams of the workload. The answer carries a stream on which the supervisor speaks as an agent does of a
    /// process that runs already ([`crate::session`]): output from now on, how it all ended as the last frame. Several
    /// may be attached; the workload's output waits for the slowest. An end of standard input is not passed on.
    Attach,
    /// What happens to the VM. Answered by one [`Reply::Happened`] for each, from its start on as far as is remembered,
    /// then `Done` when it is gone for good. Who does not read is dropped.
    Events,
    /// A way to another member of the VM's network, with that member's stack at its other end (see
    /// [`crate::control::Command::SetMember`]). Brings the descriptor. Not answered; where it is not wanted the
    /// descriptor is closed.
    Meet {
        /// The name of the network.
        network: String,
        /// The other member's.
        address: [u8; 4],
    },
}

/// Changes of what a VM may reach; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUpdate {
    /// What may be reached where no rule says otherwise.
    pub reach: Option<Reach>,
    /// All rules from now on.
    pub rules: Option<Vec<String>>,
    /// All limits from now on.
    pub limits: Option<Limits>,
}

/// Supervisor to client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done; with a descriptor for [`RequestBody::Connect`].
    Done,
    /// The workload ended so.
    Exited(Exit),
    /// A copy was made. Descriptors: its control socket, a pidfd of its process, and the files of its
    /// writable disk, the lowest first.
    Forked {
        /// Process id of the copy's VMM.
        pid: i32,
        /// Digest of the manifest of what the memory of the VM was restored from, if it was.
        base: Option<String>,
    },
    /// What has passed the network card.
    Traffic(Traffic),
    /// It could not be done.
    Failed(String),
    /// This is the supervisor of another VM.
    AnotherVm,
    /// Something happened to the VM.
    Happened(Happening),
}
