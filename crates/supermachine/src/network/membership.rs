//! A VM's place on a network.

use net::Subnet;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::NetworkError;

/// More than any entry has.
const MAX_ENTRY: usize = 64 << 10;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The VM's name.
    pub(crate) name: String,
    /// The VM's id.
    pub(crate) id: String,
    /// Its other names.
    pub(crate) aliases: Vec<String>,
    /// Where its supervisor listens.
    pub(crate) socket: PathBuf,
}

impl Member {
    /// What is written of a member; `None` of one that has not said who it is.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut text = vec![0; MAX_ENTRY];
        let mut length = 0;
        loop {
            match file.read_at(&mut text[length..], length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        // Half of one is written while somebody looks: as if nothing were there yet.
        Ok(serde_json::from_slice(&text[..length]).ok())
    }

    /// Whether it is found by this besides its name.
    pub(super) fn is_known_as(&self, name: &str) -> bool {
        let short = self.id.get(..12).into_iter();
        let mut names = self.aliases.iter().map(String::as_str).chain(short);
        names.any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// An address that is a VM's for as long as this lives.
#[derive(Debug)]
pub(crate) struct Membership {
    network: String,
    aliases: Vec<String>,
    subnet: Subnet,
    address: Ipv4Addr,
    path: PathBuf,
    /// Locked.
    file: File,
}

impl Membership {
    pub(super) fn new(
        (network, aliases): (String, Vec<String>),
        (subnet, address): (Subnet, Ipv4Addr),
        (path, file): (PathBuf, File),
    ) -> Self {
        Self {
            network,
            aliases,
            subnet,
            address,
            path,
            file,
        }
    }

    /// The name of the network.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    pub(crate) const fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub(crate) const fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Says who has the address. From here on others find the VM.
    pub(crate) fn introduce(
        &self,
        name: &str,
        id: &str,
        socket: PathBuf,
    ) -> Result<(), NetworkError> {
        let member = Member {
            name: name.to_owned(),
            id: id.to_owned(),
            aliases: self.aliases.clone(),
            socket,
        };
        let failed = |source| NetworkError::File {
            step: "write",
            path: self.path.clone(),
            source,
        };
        let text = serde_json::to_vec(&member).map_err(|error| failed(error.into()))?;
        // A shorter one ends in spaces, which mean nothing, until the rest is cut off.
        let before = self.file.metadata().map_err(failed)?.len() as usize;
        let mut padded = text.clone();
        padded.resize(text.len().max(before), b' ');
        self.file
            .write_all_at(&padded, 0)
            .and_then(|()| self.file.set_len(text.len() as u64))
            .map_err(failed)
    }
}
