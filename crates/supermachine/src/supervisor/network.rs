//! What a VM may reach changes while somebody looks after it.

use super::clients::{Connection, Waiting};
use super::thread::Supervisor;
use crate::config::VmConfig;
use crate::error::describe;
use crate::network::{self, NetworkMode, NetworkUpdate, NetworkUpdateError};
use crate::record::Entry;
use proto::control::Command;
use proto::supervisor::{self, Reply};

impl Supervisor {
    /// Has the VMM take other rules and limits. The client is answered when they hold. Whether the VM ends right now.
    pub(super) fn update_network(
        &mut self,
        connection: Connection,
        request: &supervisor::NetworkUpdate,
    ) -> bool {
        let updated = prepare(&self.entry.record.config, request).and_then(|config| {
            let wants_one = config.network != NetworkMode::None;
            match self.has_network || !wants_one {
                true => Ok(config),
                false => Err(describe(&NetworkUpdateError::StartedWithout)),
            }
        });
        let written = updated.and_then(|config| write(&mut self.entry, config));
        if let Err(message) = written {
            connection.reply(&Reply::Failed(message));
            return false;
        }
        if !self.has_network {
            connection.reply(&Reply::Done);
            return false;
        }
        let config = &self.entry.record.config;
        let command = Command::UpdateNetwork {
            policy: network::policy(config),
            limits: network::limits(config.network_limits),
        };
        // A VMM that does not take the order is found dead right after.
        let ends = self.vmm.send(&command, &[]).is_err();
        self.clients.keep(connection, Waiting::NetworkUpdate);
        ends
    }

    /// Asks the VMM for a client what has passed. Whether the VM ends right now.
    pub(super) fn count_traffic(&mut self, connection: Connection) -> bool {
        let ends = self.vmm.send(&Command::CountTraffic, &[]).is_err();
        self.clients.keep(connection, Waiting::Traffic);
        ends
    }
}

/// Changes what a VM between two lives may reach in the next.
pub(super) fn updated(entry: &mut Entry, request: &supervisor::NetworkUpdate) -> Reply {
    let config = prepare(&entry.record.config, request);
    match config.and_then(|config| write(entry, config)) {
        Ok(()) => Reply::Done,
        Err(message) => Reply::Failed(message),
    }
}

fn prepare(config: &VmConfig, request: &supervisor::NetworkUpdate) -> Result<VmConfig, String> {
    let update = NetworkUpdate::from_request(request);
    let applied = update.and_then(|update| {
        update.check_live(config)?;
        update.applied(config)
    });
    applied.map_err(|error| describe(&error))
}

/// The record first: what holds now is what holds in the next life and in every copy.
fn write(entry: &mut Entry, config: VmConfig) -> Result<(), String> {
    let before = std::mem::replace(&mut entry.record.config, config);
    entry.save().map_err(|error| {
        entry.record.config = before;
        describe(&error)
    })
}
