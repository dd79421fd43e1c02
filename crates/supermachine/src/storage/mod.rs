//! What a VM has besides its image: mounts, volumes, secrets, names and kernel parameters.

mod error;
mod resolve;
mod volume;

pub use error::StorageError;
pub(crate) use resolve::{check, extras, hosts, resolv_conf};
pub use volume::VolumeInfo;
pub(crate) use volume::{Volume, Volumes};

use crate::bytes::ByteString;
use crate::config::VmConfig;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::PathBuf;

/// The size of a volume that nobody gave one: it takes up what is written to it.
pub const DEFAULT_VOLUME_SIZE: u64 = 10 << 30;

/// What a VM has besides its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Storage {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) root: Access,
    pub(crate) shm_size: Option<u64>,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) hosts: Vec<(String, String)>,
    pub(crate) dns: Dns,
    pub(crate) secrets: Vec<(String, SecretSource)>,
}

/// Reading, or writing too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Both.
    #[default]
    ReadWrite,
    /// Reading alone.
    ReadOnly,
}

/// Something mounted in a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: ByteString,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Tmpfs {
        options: String,
    },
    Volume {
        name: String,
        options: VolumeOptions,
    },
}

/// How a volume is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOptions {
    /// Whether the VM may write to it. Many VMs may read a volume at once; one that writes has it alone.
    pub access: Access,
    /// Leave an empty volume empty, instead of giving it what the image has at the mount point.
    pub no_copy: bool,
}

/// What /etc/resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<String>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// Where a secret comes from. It is read when the VM starts, and no record of the VM holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretSource {
    /// The contents of a file.
    File(PathBuf),
    /// The value of a variable in the environment of the VM's supervisor.
    Env(String),
}

impl Default for Storage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage {
    pub(crate) const fn new() -> Self {
        Self {
            mounts: Vec::new(),
            root: Access::ReadWrite,
            shm_size: None,
            sysctls: Vec::new(),
            hosts: Vec::new(),
            dns: Dns {
                servers: Vec::new(),
                search: Vec::new(),
                options: Vec::new(),
            },
            secrets: Vec::new(),
        }
    }

    /// Whether there is anything that outlives the VM.
    pub(crate) fn has_volumes(&self) -> bool {
        self.volumes().next().is_some()
    }

    /// The names of its volumes.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&str, VolumeOptions)> {
        self.mounts.iter().filter_map(|mount| match &mount.what {
            What::Volume { name, options } => Some((name.as_str(), *options)),
            What::Tmpfs { .. } => None,
        })
    }
}

impl VmConfig {
    /// Mounts a tmpfs, with options as `mount` has them (`size=64m,mode=1777,uid=1000,exec`). As with Docker, programs,
    /// set-user-id and device nodes mean nothing on it unless the options say so. A missing mount point is made.
    pub fn tmpfs(mut self, target: impl AsRef<OsStr>, options: impl Into<String>) -> Self {
        self.storage.mounts.push(Mount {
            target: target.as_ref().into(),
            what: What::Tmpfs {
                options: options.into(),
            },
        });
        self
    }

    /// Mounts a volume, which is made where there is none of this name. Four are the most a VM can have.
    pub fn volume(
        mut self,
        name: impl Into<String>,
        target: impl AsRef<OsStr>,
        options: VolumeOptions,
    ) -> Self {
        self.storage.mounts.push(Mount {
            target: target.as_ref().into(),
            what: What::Volume {
                name: name.into(),
                options,
            },
        });
        self
    }

    /// What the workload may do with its root; what is mounted elsewhere stays as it is, /tmp and /run too.
    pub const fn root(mut self, access: Access) -> Self {
        self.storage.root = access;
        self
    }

    /// Size of /dev/shm in bytes, 64 MiB by default.
    pub const fn shm_size(mut self, bytes: u64) -> Self {
        self.storage.shm_size = Some(bytes);
        self
    }

    /// Sets a kernel parameter of the VM (`net.core.somaxconn`).
    pub fn sysctl(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.storage.sysctls.push((name.into(), value.into()));
        self
    }

    /// Adds a line to /etc/hosts.
    pub fn add_host(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.storage.hosts.push((address.into(), name.into()));
        self
    }

    /// A name server for /etc/resolv.conf.
    pub fn dns(mut self, server: impl Into<String>) -> Self {
        self.storage.dns.servers.push(server.into());
        self
    }

    /// A search domain for /etc/resolv.conf; `.` for none.
    pub fn dns_search(mut self, domain: impl Into<String>) -> Self {
        self.storage.dns.search.push(domain.into());
        self
    }

    /// An option for /etc/resolv.conf.
    pub fn dns_option(mut self, option: impl Into<String>) -> Self {
        self.storage.dns.options.push(option.into());
        self
    }

    /// A file /run/secrets/NAME that the workload's user alone can read. A VM with secrets cannot be made a snapshot of.
    pub fn secret(mut self, name: impl Into<String>, source: SecretSource) -> Self {
        self.storage.secrets.push((name.into(), source));
        self
    }
}
