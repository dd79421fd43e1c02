//! Debian's docker-registry on a loopback port of its own.

use crate::{oracle, target};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running registry; it ends with the value.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    storage: TempDir,
}

impl Registry {
    /// Starts an empty one and waits until it listens.
    pub fn start() -> Self {
        let storage = tempfile::tempdir().expect("make a temporary directory");
        let config = storage.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            storage.path().join("data").display()
        );
        std::fs::write(&config, text).expect("write the registry's configuration");
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .expect("docker-registry is installed (cargo xtask test does)");
        let mut log = BufReader::new(process.stderr.take().expect("standard error is piped"));
        let address = listening_address(&mut log);
        // Whoever writes to a pipe must be read.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            process,
            address,
            storage,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Flips a bit in the middle of the largest thing it stores.
    pub fn damage_largest_blob(&self) {
        let blobs = self.storage.path().join("data");
        let largest = files(&blobs).into_iter().max_by_key(|(_, size)| *size);
        let (path, size) = largest.expect("something is stored");
        let mut content = std::fs::read(&path).expect("read a blob");
        content[size as usize / 2] ^= 1;
        std::fs::write(path, content).expect("write a blob");
    }

    /// Pushes a test image and returns its reference.
    pub fn push(&self, image: &str) -> String {
        let reference = format!("{}/test/{image}:latest", self.address);
        let from = format!("oci:{}:latest", target::image(image).display());
        oracle::skopeo([
            "copy",
            "--dest-tls-verify=false",
            &from,
            &format!("docker://{reference}"),
        ]);
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have died by itself; either way nothing of it stays.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The files below a directory, and their sizes.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read the registry's storage") {
        let entry = entry.expect("read the registry's storage");
        let metadata = entry.metadata().expect("look at what a registry stores");
        if metadata.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), metadata.len()));
        }
    }
    found
}

/// The registry says `listening on 127.0.0.1:PORT` when it does.
fn listening_address(log: &mut impl BufRead) -> SocketAddr {
    let mut seen = String::new();
    loop {
        let start = seen.len();
        let length = log
            .read_line(&mut seen)
            .expect("the registry's log is text");
        assert!(length > 0, "docker-registry ended: {seen}");
        if let Some((_, rest)) = seen[start..].split_once("listening on ") {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                .unwrap_or(rest.len());
            return rest[..end]
                .parse()
                .unwrap_or_else(|error| panic!("{rest}: {error}"));
        }
    }
}
