//! Firecracker's requests: saving a VM and restoring it.

use super::{Devices, Firecracker, configuration};
use crate::bench::console::Deadline;
use crate::bench::programs::Programs;
use anyhow::{Context, Result, bail};
use proto::guest::READY_PORT;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A VM of Firecracker's in two files.
pub struct Snapshot {
    state: PathBuf,
    memory: PathBuf,
    /// The socket device binds it again at each restore.
    socket: PathBuf,
}

/// A process with a socket for requests. It is killed with the value.
struct Served {
    process: Child,
    api: PathBuf,
}

impl Firecracker {
    /// Boots a guest until its agent knocks, and saves it.
    pub fn snapshot(&self, programs: &Programs, memory_mib: u32) -> Result<Snapshot> {
        let room = self.room.path();
        let snapshot = Snapshot {
            state: room.join("state"),
            memory: room.join("memory"),
            socket: room.join("s"),
        };
        let knock = UnixListener::bind(room.join(format!("s_{READY_PORT}")))?;
        let config = room.join("saved.json");
        let configuration = configuration(programs, memory_mib, Devices::Agent, &snapshot.socket);
        fs::write(&config, configuration.to_string())?;
        let served = self.serve(&["--config-file".as_ref(), config.as_os_str()])?;
        Deadline::start()
            .wait([knock.as_fd()])
            .context("no knock came")?;
        let mut api = served.connect()?;
        request(&mut api, "PATCH", "/vm", &json!({"state": "Paused"}))?;
        let files = json!({
            "snapshot_type": "Full",
            "snapshot_path": snapshot.state,
            "mem_file_path": snapshot.memory,
        });
        request(&mut api, "PUT", "/snapshot/create", &files)?;
        Ok(snapshot)
    }

    /// From just before the process is started until it says that the VM runs.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Duration> {
        drop(fs::remove_file(&snapshot.socket));
        let started = Instant::now();
        let served = self.serve(&[])?;
        let files = json!({
            "snapshot_path": snapshot.state,
            "mem_backend": {"backend_type": "File", "backend_path": snapshot.memory},
            "resume_vm": true,
        });
        request(&mut served.connect()?, "PUT", "/snapshot/load", &files)?;
        Ok(started.elapsed())
    }

    fn serve(&self, arguments: &[&std::ffi::OsStr]) -> Result<Served> {
        let api = self.room.path().join("api");
        drop(fs::remove_file(&api));
        let process = Command::new(&self.program)
            .args(["--level", "Error", "--api-sock"])
            .arg(&api)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start firecracker")?;
        Ok(Served { process, api })
    }
}

impl Served {
    /// As soon as it listens. Nothing tells when that is, so this asks again and again, which is the shortest wait.
    fn connect(&self) -> Result<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(&self.api) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("firecracker does not listen");
                }
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Sends a request whose answer must be "204 No Content".
fn request(api: &mut UnixStream, method: &str, path: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    api.write_all((head + &body).as_bytes())?;
    api.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut answer = [0; 4096];
    let count = api.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..count]);
    match answer.split_whitespace().nth(1) {
        Some("204") => Ok(()),
        _ => bail!("{method} {path}: {}", answer.trim()),
    }
}
