//! Copies of a running VM that share its memory until they write.

use super::clients::Connection;
use super::hold::{Access, Held};
use super::snapshot::Subject;
use crate::error::Error;
use crate::packet::{self, PacketError};
use crate::saved::SavedError;
use crate::scratch;
use crate::vmm::VmmError;
use proto::session::Freeze;
use proto::supervisor::Reply;
use rustix::net::SocketType;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// A copy that nobody has taken yet.
#[derive(Debug)]
struct Copy {
    pid: i32,
    pidfd: OwnedFd,
    control: OwnedFd,
    disk: File,
}

/// Makes copies and hands them to whoever asked. All of them are made in one pause; without all there is none.
pub(super) fn fork(
    access: &Access,
    subject: &Subject,
    count: u32,
    client: &Connection,
) -> Result<(), Error> {
    let copies = {
        let held = access.hold(Freeze { drop_caches: false })?;
        (0..count)
            .map(|_| copy(&held, subject))
            .collect::<Result<Vec<_>, _>>()?
    };
    let base = subject.provenance.base.map(|digest| digest.to_string());
    for copy in copies {
        let reply = Reply::Forked {
            pid: copy.pid,
            base: base.clone(),
        };
        let fds = [copy.control.as_fd(), copy.pidfd.as_fd(), copy.disk.as_fd()];
        // A copy whose sockets nobody holds ends by itself.
        client
            .hand_over_with(&reply, &fds)
            .map_err(VmmError::from)?;
    }
    Ok(())
}

fn copy(held: &Held<'_>, subject: &Subject) -> Result<Copy, Error> {
    let (ours, theirs) = packet::pair(SocketType::SEQPACKET)
        .map_err(|errno| VmmError::Control(PacketError::Socket(errno)))?;
    let source = File::open(&subject.disk).map_err(|source| SavedError::File {
        step: "open",
        path: subject.disk.clone(),
        source,
    })?;
    let disk = scratch::unnamed_duplicate(&source, &subject.provenance.home.vms())?;
    let (pid, pidfd) = held.fork(theirs.as_fd())?;
    Ok(Copy {
        pid,
        pidfd,
        control: ours,
        disk,
    })
}
