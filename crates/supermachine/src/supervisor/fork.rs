//! Copies of a running VM that share its memory until they write.

use super::clients::Connection;
use super::hold::{Access, Held};
use super::snapshot::{Copied, Subject, can_be_copied};
use crate::error::Error;
use crate::packet::{self, PacketError};
use crate::scratch::layers;
use crate::vmm::VmmError;
use proto::session::Freeze;
use proto::supervisor::Reply;
use rustix::net::SocketType;
use std::os::fd::{AsFd, OwnedFd};

/// A copy that nobody has taken yet.
#[derive(Debug)]
struct Copy {
    pid: i32,
    pidfd: OwnedFd,
    control: OwnedFd,
}

/// Makes copies and hands them to whoever asked. All of them are made in one pause; without all there is none.
pub(super) fn fork(
    access: &Access,
    subject: &Subject,
    count: u32,
    client: &Connection,
) -> Result<(), Error> {
    can_be_copied(subject, Copied::InMemory)?;
    let vms = subject.provenance.home.vms();
    layers::merge_many(&subject.dir)?;
    let mut held = access.hold(Freeze { drop_caches: false })?;
    let disk = held.share_disk(subject)?;
    let copies: Result<Vec<_>, _> = (0..count).map(|_| copy(&held)).collect();
    let copies = copies?;
    // The copies can start while the agent lets the workload go on.
    held.let_go();
    let base = subject.provenance.base.map(|digest| digest.to_string());
    for copy in copies {
        let reply = Reply::Forked {
            pid: copy.pid,
            base: base.clone(),
        };
        let own = layers::one_more(&disk, &vms)?;
        let fds = [copy.control.as_fd(), copy.pidfd.as_fd()].into_iter();
        let fds: Vec<_> = fds.chain(own.iter().map(AsFd::as_fd)).collect();
        // A copy whose sockets nobody holds ends by itself.
        client
            .hand_over_with(&reply, &fds)
            .map_err(VmmError::from)?;
    }
    Ok(())
}

fn copy(held: &Held<'_>) -> Result<Copy, Error> {
    let (control, theirs) = packet::pair(SocketType::SEQPACKET)
        .map_err(|errno| VmmError::Control(PacketError::Socket(errno)))?;
    let (pid, pidfd) = held.fork(theirs.as_fd())?;
    Ok(Copy {
        pid,
        pidfd,
        control,
    })
}
