//! Copying a VM that goes on: work of seconds, in a thread of its own beside the supervisor's.

use super::clients::Connection;
use super::hold::{Access, Answered};
use super::plan::Facts;
use super::shared::Order;
use super::snapshot::{self, Subject};
use super::starting::disk_mode;
use super::thread::Supervisor;
use crate::error::describe;
use proto::control::Event;
use proto::happening::EventKind;
use proto::supervisor::Reply;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A copy that is being made. Dropping the sender tells the thread that the VM is over.
#[derive(Debug)]
pub(super) struct Copying {
    answers: Sender<Answered>,
    /// Set before the client is answered, who may ask for the next one at once.
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What kind of copy.
#[derive(Debug)]
pub(super) enum Task {
    /// A snapshot of this name.
    Snapshot(String),
    /// So many forks.
    Fork(u32),
}

impl Task {
    /// What is told when it is done.
    fn news(&self) -> EventKind {
        match self {
            Self::Snapshot(name) => EventKind::SnapshotMade { name: name.clone() },
            Self::Fork(count) => EventKind::Forked { count: *count },
        }
    }
}

impl Copying {
    /// Whether the thread is still at it.
    pub(super) fn is_at_work(&self) -> bool {
        !self.done.load(Ordering::Acquire) && !self.thread.is_finished()
    }

    /// Passes on what the VMM said.
    pub(super) fn tell(&self, event: Event, fds: Vec<OwnedFd>) {
        // A thread that is done does not care.
        let _ = self.answers.send((event, fds));
    }

    /// The VM is over: waits until the thread has cleaned up.
    pub(super) fn end(self) {
        drop(self.answers);
        if self.thread.join().is_err() {
            tracing::warn!("the copying of a VM ended by a panic");
        }
    }
}

impl Supervisor {
    /// Starts a copy for a client, who is answered when it is there. One at a time.
    pub(super) fn copy(&mut self, connection: Connection, task: Task) {
        if self.copying.as_ref().is_some_and(Copying::is_at_work) {
            connection.reply(&Reply::Failed("the VM is being copied already".into()));
            return;
        }
        let (answers, received) = channel();
        let access = Access {
            vmm: self.vmm.connector(),
            pid: self.vmm.pid(),
            answers: received,
        };
        let subject = Subject {
            facts: Facts::from(&self.entry.record),
            provenance: self.provenance.clone(),
            dir: self.entry.dir.clone(),
            disk_mode: disk_mode(self.entry.record.config.retention),
        };
        let done = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&done);
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new()
            .name("copying".into())
            .spawn(move || {
                let news = task.news();
                let reply = carry_out(&access, &subject, task, &connection);
                if reply == Reply::Done {
                    shared.order(Order::Tell(news));
                }
                end.store(true, Ordering::Release);
                connection.reply(&reply);
            });
        match started {
            Ok(thread) => {
                self.copying = Some(Copying {
                    answers,
                    done,
                    thread,
                });
            }
            Err(error) => tracing::warn!(%error, "no thread for the copying of a VM"),
        }
    }
}

fn carry_out(access: &Access, subject: &Subject, task: Task, client: &Connection) -> Reply {
    let done = match task {
        Task::Snapshot(name) => snapshot::create(access, subject, &name),
        Task::Fork(count) => super::fork::fork(access, subject, count, client),
    };
    match done {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed(describe(&error)),
    }
}
