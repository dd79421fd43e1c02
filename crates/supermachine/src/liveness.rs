//! Telling a live supervisor from a dead one.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The file in a VM's record that its supervisor holds locked for as long as it lives. The kernel lets go
/// of it whatever way the supervisor ends.
pub(crate) const LOCK: &str = "lock";

/// Whether the supervisor of a record lives.
#[derive(Debug, Clone)]
pub(crate) struct Liveness(Option<PathBuf>);

impl Liveness {
    /// Of this record.
    pub(crate) fn of(dir: &Path) -> Self {
        Self(Some(dir.join(LOCK)))
    }

    /// A VM that is known to have ended.
    #[cfg(test)]
    pub(crate) const fn ended() -> Self {
        Self(None)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.0
            .as_deref()
            .is_some_and(|lock| is_held(lock).unwrap_or(false))
    }
}

/// Whether somebody holds the lock. A record without the file has no supervisor.
fn is_held(lock: &Path) -> io::Result<bool> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the lock of a new record and holds it.
pub(crate) fn hold(dir: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK))?;
    // Waits for those who only look.
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hold(dir: &Path) -> File {
        super::hold(dir).unwrap()
    }

    #[test]
    fn a_record_is_live_exactly_while_its_lock_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let live = Liveness::of(dir.path());
        assert!(!live.is_live());
        let lock = hold(dir.path());
        assert!(live.is_live());
        drop(lock);
        assert!(!live.is_live());
    }

    #[test]
    fn the_lock_of_a_killed_process_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        std::fs::write(&path, "").unwrap();
        // Without a fork the lock belongs to the process we kill.
        let mut holder = std::process::Command::new("flock")
            .arg("--no-fork")
            .arg(&path)
            .args(["sh", "-c", "echo held; exec sleep 1000"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
        let live = Liveness::of(dir.path());
        assert!(live.is_live());
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(!live.is_live());
    }
}
