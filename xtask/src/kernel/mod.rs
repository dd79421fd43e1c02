//! The guest kernel: Debian's source, our configuration, two flavors (guest-kernel/README.md).

mod build;
mod config;

use crate::cache::Cache;
use crate::{apt, digest, needs, probe, workspace};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The Debian package the source comes from.
pub const SOURCE_PACKAGE: &str = "linux-source-6.1";
/// Where that package puts it.
pub const SOURCE_TAR: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Part of the cache key: raised whenever `build.rs` changes what comes out.
const RECIPE: &str = "1";

/// What a kernel is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// KVM with hardware virtualization.
    Standard,
    /// KVM in software.
    SoftwareKvm,
}

impl Flavor {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Standard, Self::SoftwareKvm];

    /// As in file names and in the VMM's probe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::SoftwareKvm => "software-kvm",
        }
    }

    /// The flavor of that name.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|flavor| flavor.name() == name);
        found.with_context(|| {
            format!("`{name}` is no kernel flavor; there are standard and software-kvm")
        })
    }

    const fn has_patch(self) -> bool {
        matches!(self, Self::SoftwareKvm)
    }
}

/// `cargo xtask kernel`
pub fn run(arguments: &[String]) -> Result<()> {
    let flavors = match arguments {
        [] => vec![probe::flavor(probe::Profile::Release)?],
        names => names
            .iter()
            .map(|name| Flavor::parse(name))
            .collect::<Result<_>>()?,
    };
    for flavor in flavors {
        println!("{}", ensure(flavor)?.display());
    }
    Ok(())
}

/// What decides the bytes of a kernel.
struct Inputs {
    flavor: Flavor,
    source_version: String,
    common_config: String,
    flavor_config: String,
    patch: Option<PathBuf>,
}

/// The kernel of a flavor, built unless the cache has it.
pub fn ensure(flavor: Flavor) -> Result<PathBuf> {
    needs::ensure(&[needs::BUILD, needs::KERNEL])?;
    let inputs = Inputs::read(flavor)?;
    let cache = Cache::open("kernels")?;
    let dir = cache.get_or_make(&inputs.key()?, |work| build::build(&inputs, work))?;
    Ok(dir.join("vmlinux"))
}

impl Inputs {
    fn read(flavor: Flavor) -> Result<Self> {
        let folder = workspace::root().join("guest-kernel");
        let config = |name: &str| {
            let path = folder.join(format!("{name}.config"));
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            flavor,
            source_version: apt::installed_version(SOURCE_PACKAGE)?,
            common_config: config("microvm")?,
            flavor_config: config(flavor.name())?,
            patch: flavor
                .has_patch()
                .then(|| folder.join(format!("{}.patch", flavor.name()))),
        })
    }

    fn key(&self) -> Result<String> {
        let patch = match &self.patch {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
            }
            None => String::new(),
        };
        let parts = [
            RECIPE,
            &self.source_version,
            &self.common_config,
            &self.flavor_config,
            &patch,
        ];
        Ok(format!("{}-{}", self.flavor.name(), digest::key(&parts)))
    }

    /// The options asked for, the flavor's last so that they win.
    fn wanted(&self) -> Vec<config::Setting> {
        config::merge(&[&self.common_config, &self.flavor_config])
    }
}
