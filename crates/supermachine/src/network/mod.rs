//! The network of a VM: what the caller wants of it, and what the VMM and the guest are told.

mod error;
mod host;
mod membership;
mod networks;
mod ports;
mod traffic;
mod update;
mod wiring;

pub use error::NetworkError;
pub(crate) use membership::Membership;
pub(crate) use networks::Networks;
pub use networks::{NetworkInfo, NetworkMember};

pub use net::policy::{Rule, RuleError};
pub use net::{Limits as NetworkLimits, Passed, Traffic};
pub use ports::{PortError, PortMapping};
pub(crate) use traffic::counted;
pub use update::{NetworkUpdate, NetworkUpdateError};
pub(crate) use update::{limits, policy};
pub(crate) use wiring::Wiring;

use serde::{Deserialize, Serialize};

/// What a VM may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing: it has no network.
    None,
    /// Public addresses, and none of the host's own, private or otherwise special ones.
    #[default]
    Public,
    /// Everything that the host reaches, itself included: its loopback interface is the gateway's address inside.
    Full,
    /// What [`Self::Public`] does, and the other members of the network of this name, by address and by name. It is made
    /// with [`crate::Runtime::create_network`].
    Named(String),
}
