//! Other members of the VM's network: its VMM asks who they are, and their supervisors bring ways to them.
//!
//! A way is a pair of sockets. The supervisor whose guest speaks first makes it, keeps one end for its VMM and hands the
//! other one to the supervisor of the member, which gives it to its own VMM. Nobody waits for anybody: who takes what
//! it was handed and goes closes it, and that is seen at the other end.

use super::client::Client;
use super::thread::Supervisor;
use crate::network::{Membership, NetworkError, Networks};
use crate::packet;
use proto::control::Command;
use proto::supervisor::RequestBody;
use rustix::net::SocketType;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

impl Supervisor {
    /// The guest has something for a member.
    pub(super) fn seek(&mut self, address: Ipv4Addr) {
        let way = self.membership.as_ref().and_then(|membership| {
            self.way_to(membership, address).unwrap_or_else(|error| {
                tracing::warn!(%error, %address, "a member of a network cannot be looked for");
                None
            })
        });
        self.set_member(address, way);
    }

    /// A way to the VM that has this address, if one has.
    fn way_to(
        &self,
        membership: &Membership,
        address: Ipv4Addr,
    ) -> Result<Option<OwnedFd>, NetworkError> {
        let networks = Networks::new(&self.provenance.home);
        let Some(member) = networks.member_at(membership.network(), address)? else {
            return Ok(None);
        };
        let Ok((ours, theirs)) = packet::pair(SocketType::SEQPACKET) else {
            return Ok(None);
        };
        let meet = RequestBody::Meet {
            network: membership.network().to_owned(),
            address: membership.address().octets(),
        };
        let client = Client::new(member.socket, member.id);
        Ok(match client.hand(meet, theirs.as_fd()) {
            Ok(()) => Some(ours),
            Err(error) => {
                tracing::info!(%error, %address, "a member of a network is not there");
                None
            }
        })
    }

    /// Another member brings a way to it.
    pub(super) fn meet(&mut self, network: &str, address: Ipv4Addr, brought: Vec<OwnedFd>) {
        let is_ours = self.membership.as_ref().is_some_and(|membership| {
            membership.network() == network
                && membership.subnet().contains(address)
                && membership.address() != address
        });
        if let Some(way) = brought.into_iter().next().filter(|_| is_ours) {
            self.set_member(address, Some(way));
        }
    }

    fn set_member(&mut self, address: Ipv4Addr, way: Option<OwnedFd>) {
        let command = Command::SetMember {
            address: address.octets(),
        };
        let fds: Vec<_> = way.iter().map(AsFd::as_fd).collect();
        // A VMM that does not take it is found dead right after.
        let _ = self.vmm.connector().order(&command, &fds);
    }

    /// The guest asks for a name.
    pub(super) fn look_up(&mut self, name: String) {
        let networks = Networks::new(&self.provenance.home);
        let found = self
            .membership
            .as_ref()
            .map(|membership| networks.address_of(membership.network(), &name));
        let address = match found {
            Some(Err(error)) => {
                tracing::warn!(%error, %name, "a member of a network cannot be looked for");
                None
            }
            Some(Ok(address)) => address,
            None => None,
        };
        let command = Command::SetName {
            name,
            address: address.map(|address| address.octets()),
        };
        let _ = self.vmm.connector().order(&command, &[]);
    }

    /// The VM has another name.
    pub(super) fn introduce_again(&self) {
        let record = &self.entry.record;
        let introduced = self.membership.as_ref().map(|membership| {
            membership.introduce(&record.name, &record.id, record.socket.clone())
        });
        if let Some(Err(error)) = introduced {
            self.warn(crate::error::describe(&error));
        }
    }
}
