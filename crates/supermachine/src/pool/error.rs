//! What a pool cannot do.

use super::core::Settings;
use super::stats::Standing;
use crate::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a pool cannot be, or had no VM in time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Its bounds contradict each other.
    #[error(
        "a pool cannot keep {min} VMs ready and have {max} at most: min may not be over max, and max not 0"
    )]
    Bounds {
        /// How many were to be ready.
        min: usize,
        /// How many there were to be at most.
        max: usize,
    },
    /// All its VMs have this in common, and cannot.
    #[error("the VMs of a pool cannot {0}")]
    Config(&'static str),
    /// All VMs there may be are in use.
    #[error(
        "no VM of the pool became free within {waited:?}: {in_use} of {max} at most are in use, {waiting} others wait"
    )]
    Exhausted {
        /// How long the call waited.
        waited: Duration,
        /// How many VMs there may be.
        max: usize,
        /// How many are in use.
        in_use: usize,
        /// How many others wait.
        waiting: usize,
    },
    /// The host has no memory to spare for one more VM.
    #[error(
        "no VM of the pool could be made within {waited:?} for lack of memory: one may take {needed_mib} MiB, the host \
         has {available_mib} MiB, of which {promised_mib} MiB are kept for {in_use} VMs in use and for the host"
    )]
    NoMemory {
        /// How long the call waited.
        waited: Duration,
        /// The most one VM takes.
        needed_mib: u64,
        /// What the host has to spare.
        available_mib: u64,
        /// What of that is kept for VMs that have not taken it yet, and for the host.
        promised_mib: u64,
        /// How many VMs there may be.
        max: usize,
        /// How many are in use.
        in_use: usize,
        /// How many others wait.
        waiting: usize,
    },
    /// A VM could have been made, and none came up in time.
    #[error(
        "no VM of the pool came up within {waited:?}: {making} are in the making, {in_use} of {max} at most are in use, \
         {waiting} others wait"
    )]
    Late {
        /// How long the call waited.
        waited: Duration,
        /// How many VMs there may be.
        max: usize,
        /// How many are in the making.
        making: usize,
        /// How many are in use.
        in_use: usize,
        /// How many others wait.
        waiting: usize,
        /// What the last attempt to make one failed of, or what the last one that was made died of.
        #[source]
        failure: Option<Arc<Error>>,
    },
    /// Nobody says how much memory the host has to spare.
    #[error("cannot tell how much memory is available (MemAvailable of /proc/meminfo)")]
    Memory(#[source] io::Error),
}

impl PoolError {
    /// Of one who has waited in vain. `standing` is without the one who asks.
    pub(super) fn in_vain(settings: &Settings, standing: Standing, waited: Duration) -> Self {
        let max = settings.bounds.max;
        let Standing {
            in_use,
            making,
            waiting,
            ..
        } = standing;
        if in_use >= max {
            return Self::Exhausted {
                waited,
                max,
                in_use,
                waiting,
            };
        }
        match standing.shortage {
            Some(shortage) => Self::NoMemory {
                waited,
                needed_mib: shortage.needed >> 20,
                available_mib: shortage.available >> 20,
                promised_mib: shortage.promised >> 20,
                max,
                in_use,
                waiting,
            },
            None => Self::Late {
                waited,
                max,
                making,
                in_use,
                waiting,
                failure: standing.cause,
            },
        }
    }

    /// [`Error::exit_code`].
    pub(crate) const fn exit_code(&self) -> i32 {
        match self {
            Self::Exhausted { .. } | Self::NoMemory { .. } | Self::Late { .. } => 124,
            Self::Bounds { .. } | Self::Config(_) | Self::Memory(_) => 125,
        }
    }

    /// [`Error::hint`].
    pub(crate) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exhausted { .. } => Some("release VMs sooner, or raise max or acquire_timeout"),
            Self::NoMemory { .. } => {
                Some("release VMs, lower max or the memory of each VM, or free memory of the host")
            }
            Self::Late { .. } => {
                Some("raise min, so that VMs are ready earlier, or acquire_timeout")
            }
            Self::Bounds { .. } | Self::Config(_) | Self::Memory(_) => None,
        }
    }
}
