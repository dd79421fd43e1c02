//! Debian's docker-registry on a loopback port of its own, and a meter that counts what is read from it.

use crate::command::Run;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A running registry. It ends with the value.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    _storage: tempfile::TempDir,
}

impl Registry {
    /// Starts an empty one that keeps its blobs in a new directory under `room`.
    pub fn start(room: &Path) -> Result<Self> {
        let storage = tempfile::tempdir_in(room)?;
        let config = storage.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n",
            storage.path().join("blobs").display()
        );
        std::fs::write(&config, text)?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start docker-registry")?;
        let log = process.stderr.take().context("its log is piped")?;
        let mut log = BufReader::new(log);
        let address = wait_until_it_listens(&mut log);
        // A pipe that nobody reads would stop it.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let mut registry = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            _storage: storage,
        };
        registry.address = address?;
        Ok(registry)
    }

    /// Puts an OCI layout's tag into the repository `bench/redis` under the same tag.
    pub fn push(&self, layout: &Path, tag: &str) -> Result<()> {
        Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}", self.reference(tag)))
            .text()
            .map(drop)
    }

    /// What a client asks for.
    pub fn reference(&self, tag: &str) -> String {
        format!("{}/bench/redis:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn wait_until_it_listens(log: &mut impl BufRead) -> Result<SocketAddr> {
    let mut line = String::new();
    let mut last = String::new();
    while log.read_line(&mut line)? > 0 {
        if let Some(address) = listening_address(&line) {
            return Ok(address);
        }
        last = std::mem::take(&mut line);
    }
    bail!("docker-registry ended: {}", last.trim())
}

/// From `... listening on 127.0.0.1:PORT ...`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Another address of a registry, which counts the bytes its clients read.
pub struct Meter {
    address: SocketAddr,
    read: Arc<AtomicU64>,
}

impl Meter {
    /// In front of this registry, for as long as this process lives.
    pub fn start(registry: &Registry) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let meter = Self {
            address: listener.local_addr()?,
            read: Arc::default(),
        };
        let (upstream, read) = (registry.address, Arc::clone(&meter.read));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let read = Arc::clone(&read);
                // A connection that fails is the client's to report.
                thread::spawn(move || forward(client, upstream, &read));
            }
        });
        Ok(meter)
    }

    /// What a client asks for.
    pub fn reference(&self, tag: &str) -> String {
        format!("{}/bench/redis:{tag}", self.address)
    }

    /// Bytes read since the last call.
    pub fn take(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, upstream: SocketAddr, read: &AtomicU64) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from_server.read(&mut buffer)?;
        if count == 0 {
            return to_client.shutdown(Shutdown::Write);
        }
        // Counted before it is passed on: a client that has everything finds everything counted.
        read.fetch_add(count as u64, Ordering::Relaxed);
        to_client.write_all(&buffer[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_registrys_log() {
        let line = "time=\"x\" level=info msg=\"listening on 127.0.0.1:40551\" go.version=go1.19\n";
        assert_eq!(
            listening_address(line),
            Some(SocketAddr::from(([127, 0, 0, 1], 40551)))
        );
        assert_eq!(listening_address("msg=\"listening\""), None);
    }

    #[test]
    fn a_meter_counts_what_the_client_reads_and_nothing_else() {
        let upstream = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = upstream.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&[7; 1000]).unwrap();
        });
        let (client, through) = {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let read = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&read);
        let forwarder = thread::spawn(move || forward(through, address, &counted));
        (&client).write_all(b"GET?").unwrap();
        let mut all = Vec::new();
        (&client).read_to_end(&mut all).unwrap();
        server.join().unwrap();
        forwarder.join().unwrap().unwrap();
        assert_eq!((all.len(), read.load(Ordering::Relaxed)), (1000, 1000));
    }
}
