//! Stopping every process of a cgroup, and telling when the last of them stands.
//!
//! The kernel stops a process on its way back to its own code, so a frozen one holds no lock of the kernel's and has
//! no system call half done. It still dies of SIGKILL.

use crate::sys::fd;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The switch of a cgroup and its answer.
#[derive(Debug)]
pub struct Freezer {
    switch: OwnedFd,
    events: OwnedFd,
}

impl Freezer {
    /// Of the cgroup with this directory.
    pub fn open(cgroup: &impl AsFd) -> io::Result<Self> {
        let open = |name: &CStr, flags| fd::open_in(cgroup, name, flags);
        let freezer = Self {
            switch: open(c"cgroup.freeze", libc::O_WRONLY)?,
            events: open(c"cgroup.events", libc::O_RDONLY)?,
        };
        // The kernel tells of a change since the file was last read, and so once for nothing to whoever never did.
        freezer.is_frozen()?;
        Ok(freezer)
    }

    /// Has every process of the cgroup stop, also those that are still to come.
    pub fn freeze(&self) -> io::Result<()> {
        fd::write_parameter(&self.switch, b"1")
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        fd::write_parameter(&self.switch, b"0")
    }

    /// Whether all of them have stopped.
    pub fn is_frozen(&self) -> io::Result<bool> {
        let mut text = [0; 256];
        let length = fd::read_at(&self.events, &mut text, 0)?;
        Ok(says_frozen(&text[..length]))
    }

    /// A file whose changes mean that the answer may be another.
    pub const fn events(&self) -> &OwnedFd {
        &self.events
    }
}

fn says_frozen(events: &[u8]) -> bool {
    super::cgroup::event_count(events, b"frozen") == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Interest};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};
    use std::time::Duration;

    /// A cgroup of the host's, removed in the end.
    struct Cgroup(PathBuf);

    impl Cgroup {
        fn make() -> Self {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            let root = mounts
                .lines()
                .map(|line| line.split(' ').collect::<Vec<_>>())
                .find(|words| words[2] == "cgroup2")
                .expect("tests need a mounted cgroup2 hierarchy")[1]
                .to_owned();
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            let name = format!("supermachine-test-{}", std::process::id());
            let path = Path::new(&root).join(own.unwrap_or("")).join(name);
            std::fs::create_dir(&path).expect("tests need the right to make cgroups");
            Self(path)
        }

        fn put(&self, child: &Child) {
            std::fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            std::fs::remove_dir(&self.0).unwrap();
        }
    }

    fn wait_until(epoll: &mut Epoll, freezer: &Freezer, frozen: bool) {
        while freezer.is_frozen().unwrap() != frozen {
            let happened = epoll.wait(Some(Duration::from_secs(10))).unwrap().count();
            assert!(happened > 0, "the kernel did not tell");
        }
    }

    #[test]
    fn a_frozen_process_is_told_of_stands_still_goes_on_and_dies_of_a_kill() {
        let cgroup = Cgroup::make();
        let mut child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        cgroup.put(&child);
        let directory = std::fs::File::open(&cgroup.0).unwrap();
        let freezer = Freezer::open(&directory).unwrap();
        let mut epoll = Epoll::new(4).unwrap();
        epoll
            .add(freezer.events(), Interest::PriorityEdge, 7)
            .unwrap();
        assert_eq!(
            epoll.wait(Some(Duration::ZERO)).unwrap().count(),
            0,
            "nothing has happened yet"
        );
        assert!(!freezer.is_frozen().unwrap());
        freezer.freeze().unwrap();
        wait_until(&mut epoll, &freezer, true);
        freezer.thaw().unwrap();
        wait_until(&mut epoll, &freezer, false);
        freezer.freeze().unwrap();
        wait_until(&mut epoll, &freezer, true);
        child.kill().unwrap();
        child.wait().unwrap();
        freezer.thaw().unwrap();
    }

    #[test]
    fn the_answer_is_read_by_its_name() {
        assert!(says_frozen(b"populated 1\nfrozen 1\n"));
        assert!(!says_frozen(b"populated 1\nfrozen 0\n"));
        assert!(!says_frozen(b"populated 1\n"));
    }
}
