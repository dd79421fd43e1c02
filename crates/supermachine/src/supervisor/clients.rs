//! The other processes that talk to a supervisor.

use super::journal::Journal;
use super::listener::Listener;
use super::shared::Outcome;
use crate::deadline::Deadline;
use crate::packet::{self, PacketError};
use proto::happening::EventKind;
use proto::supervisor::{Reply, Request, RequestBody, VERSION};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A client that takes no answer for so long is stuck.
const LISTENS: Duration = Duration::from_secs(30);

/// What a client waits for once it has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The end of the VM, to be told how the workload ended.
    Exit,
    /// The end of the VM.
    Gone,
    /// The vCPUs to stop.
    Paused,
    /// The vCPUs to go on.
    Resumed,
    /// What the VM may reach to be what it asked for.
    NetworkUpdate,
    /// What has passed its network card.
    Traffic,
    /// Whatever happens, until the VM is gone for good.
    Events,
}

/// One client. It asks once.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    waiting: Option<Waiting>,
    brought: Vec<OwnedFd>,
}

impl Connection {
    /// The descriptors that came with the request.
    pub(super) fn take_brought(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.brought)
    }

    /// Answers. A client that does not listen misses its answer.
    pub(super) fn reply(&self, reply: &Reply) {
        let _ = packet::try_send(&self.socket, reply, &[]);
    }

    /// Answers with a descriptor.
    pub(super) fn hand_over(&self, descriptor: BorrowedFd<'_>) {
        let _ = packet::try_send(&self.socket, &Reply::Done, &[descriptor]);
    }

    /// Gives one of several answers, with its descriptors, and waits until there is room for it.
    pub(super) fn hand_over_with(
        &self,
        reply: &Reply,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), PacketError> {
        packet::send(&self.socket, reply, fds, Deadline::after(LISTENS))
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Clients {
    vm: String,
    listener: Listener,
    connections: Vec<Connection>,
    journal: Arc<Journal>,
}

impl Clients {
    pub(super) fn new(vm: String, listener: Listener) -> Self {
        Self {
            vm,
            listener,
            connections: Vec::new(),
            journal: Arc::default(),
        }
    }

    /// What happened to the VM, over all its lives.
    pub(super) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Writes down what happens, and tells those who want to know. One who does not read is dropped.
    pub(super) fn note(&mut self, kind: EventKind) {
        let happened = Reply::Happened(self.journal.note(kind));
        self.connections.retain(|connection| {
            connection.waiting != Some(Waiting::Events)
                || packet::try_send(&connection.socket, &happened, &[]).is_ok()
        });
    }

    /// Tells a client what happened so far, and from now on what happens.
    pub(super) fn subscribe(&mut self, connection: Connection) {
        for happening in self.journal.all() {
            if packet::try_send(&connection.socket, &Reply::Happened(happening), &[]).is_err() {
                return;
            }
        }
        self.keep(connection, Waiting::Events);
    }

    /// Where they connect to.
    pub(super) fn address(&self) -> std::path::PathBuf {
        self.listener.address()
    }

    /// What to watch for input.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sockets = self
            .connections
            .iter()
            .map(|connection| connection.socket.as_fd());
        std::iter::once(self.listener.as_fd()).chain(sockets)
    }

    /// The requests that have come, with those who asked. Clients that went are forgotten.
    pub(super) fn take_requests(&mut self) -> Vec<(Connection, RequestBody)> {
        while let Some(socket) = self.listener.accept() {
            self.connections.push(Connection {
                socket,
                waiting: None,
                brought: Vec::new(),
            });
        }
        let mut requests = Vec::new();
        for mut connection in std::mem::take(&mut self.connections) {
            match packet::try_receive::<Request>(&connection.socket) {
                Ok(None) => self.connections.push(connection),
                Ok(Some((request, _))) if request.version != VERSION => {
                    connection.reply(&Reply::Failed(
                        "this VM was started by another release".into(),
                    ));
                }
                Ok(Some((request, _))) if request.vm != self.vm => {
                    connection.reply(&Reply::AnotherVm);
                }
                Ok(Some((request, brought))) if connection.waiting.is_none() => {
                    connection.brought = brought;
                    requests.push((connection, request.body));
                }
                Ok(Some(_)) | Err(PacketError::Closed) => {}
                Err(error) => connection.reply(&Reply::Failed(error.to_string())),
            }
        }
        requests
    }

    /// Keeps a client until what it waits for has come.
    pub(super) fn keep(&mut self, mut connection: Connection, waiting: Waiting) {
        connection.waiting = Some(waiting);
        self.connections.push(connection);
    }

    /// Answers those who wait for this.
    pub(super) fn answer(&mut self, waiting: Waiting, reply: &Reply) {
        for connection in self
            .connections
            .extract_if(.., |connection| connection.waiting == Some(waiting))
        {
            connection.reply(reply);
        }
    }

    /// Answers the one who has waited longest for this.
    pub(super) fn answer_first(&mut self, waiting: Waiting, reply: &Reply) {
        let waits = |connection: &Connection| connection.waiting == Some(waiting);
        if let Some(at) = self.connections.iter().position(waits) {
            self.connections.remove(at).reply(reply);
        }
    }

    /// Tells everybody how it ended.
    pub(super) fn dismiss(mut self, outcome: &Outcome) {
        self.tell(outcome);
        self.answer(Waiting::Events, &Reply::Done);
    }

    /// Tells everybody who waits how this life ended, and goes on listening.
    pub(super) fn tell(&mut self, outcome: &Outcome) {
        for connection in self.connections.extract_if(.., |connection| {
            connection
                .waiting
                .is_some_and(|waiting| waiting != Waiting::Events)
        }) {
            connection.reply(&last_reply(connection.waiting, outcome));
        }
    }
}

/// For who waits for the exit of a VM that ended so.
pub(super) fn exit_reply(outcome: &Outcome) -> Reply {
    last_reply(Some(Waiting::Exit), outcome)
}

fn last_reply(waiting: Option<Waiting>, outcome: &Outcome) -> Reply {
    match (waiting, outcome) {
        (Some(Waiting::Gone), _) => Reply::Done,
        (Some(Waiting::Exit), Outcome::Exited(exit)) => Reply::Exited(*exit),
        (_, Outcome::Failed(error)) => Reply::Failed(error.to_string()),
        _ => Reply::Failed("the VM was stopped".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, ClientError};
    use super::*;
    use proto::session::{Exit, ExitStatus};

    const EXIT: Exit = Exit {
        status: ExitStatus::Code(3),
        duration_us: 0,
        max_rss_kib: 0,
        timed_out: false,
        out_of_memory: false,
    };

    fn clients() -> (tempfile::TempDir, Clients, Client) {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::open(dir.path()).unwrap();
        let id = crate::home::random_hex(64);
        let client = Client::new(listener.address(), id.clone());
        (dir, Clients::new(id, listener), client)
    }

    /// Takes requests until there is one.
    fn next(clients: &mut Clients) -> (Connection, RequestBody) {
        loop {
            if let Some(request) = clients.take_requests().pop() {
                return request;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_waits_for_the_exit_learns_it_when_the_vm_has_gone() {
        let (_dir, mut clients, client) = clients();
        let waiter = std::thread::spawn(move || client.ask(RequestBody::Wait, Deadline::NEVER));
        let (connection, body) = next(&mut clients);
        assert_eq!(body, RequestBody::Wait);
        clients.keep(connection, Waiting::Exit);
        clients.answer(Waiting::Paused, &Reply::Done);
        clients.dismiss(&Outcome::Exited(EXIT));
        assert!(matches!(waiter.join().unwrap(), Ok((Reply::Exited(exit), None)) if exit == EXIT));
    }

    #[test]
    fn a_descriptor_reaches_the_client_that_asked_for_it() {
        let (_dir, mut clients, client) = clients();
        let asker = std::thread::spawn(move || client.ask(RequestBody::Connect, Deadline::NEVER));
        let (connection, _) = next(&mut clients);
        let (ours, theirs) = packet::pair(rustix::net::SocketType::STREAM).unwrap();
        connection.hand_over(theirs.as_fd());
        drop(theirs);
        let (_, stream) = asker.join().unwrap().unwrap();
        rustix::io::write(stream.unwrap(), b"x").unwrap();
        assert_eq!(rustix::io::read(ours, &mut [0; 8]), Ok(1));
    }

    #[test]
    fn a_supervisor_that_dies_before_its_answer_is_a_vm_that_does_not_run() {
        let (_dir, mut clients, client) = clients();
        let asker = std::thread::spawn({
            let client = client.clone();
            move || client.ask(RequestBody::Kill, Deadline::NEVER)
        });
        drop(next(&mut clients));
        drop(clients);
        assert_eq!(asker.join().unwrap().unwrap_err(), ClientError::NotRunning);
        assert_eq!(
            client.ask(RequestBody::Kill, Deadline::NEVER).unwrap_err(),
            ClientError::NotRunning
        );
    }

    #[test]
    fn garbage_and_other_releases_are_answered_and_forgotten() {
        let (_dir, mut clients, client) = clients();
        let garbage = super::super::listener::dial(client.address()).unwrap();
        rustix::io::write(&garbage, &[255; 100]).unwrap();
        let stranger = super::super::listener::dial(client.address()).unwrap();
        packet::send(
            &stranger,
            &Request {
                version: VERSION + 1,
                vm: String::new(),
                body: RequestBody::Kill,
            },
            &[],
            Deadline::NEVER,
        )
        .unwrap();
        assert!(clients.take_requests().is_empty());
        for socket in [garbage, stranger] {
            assert!(matches!(
                packet::try_receive::<Reply>(&socket),
                Ok(Some((Reply::Failed(_), _)))
            ));
        }
        assert_eq!(clients.descriptors().count(), 1);
    }

    #[test]
    fn who_looks_for_another_vm_at_this_address_is_told_that_it_does_not_run() {
        let (_dir, mut clients, client) = clients();
        let lost = Client::new(client.address().to_owned(), "another".into());
        let asker = std::thread::spawn(move || lost.ask(RequestBody::Kill, Deadline::NEVER));
        while !asker.is_finished() {
            assert!(clients.take_requests().is_empty());
            std::thread::yield_now();
        }
        assert_eq!(asker.join().unwrap().unwrap_err(), ClientError::NotRunning);
    }

    #[test]
    fn a_client_that_gets_no_answer_in_time_gives_up() {
        let (_dir, _clients, client) = clients();
        let deadline = Deadline::after(Duration::from_millis(5));
        assert_eq!(
            client.ask(RequestBody::Wait, deadline).unwrap_err(),
            ClientError::TimedOut
        );
    }
}
