//! A session on its socket, shared by the threads that wait on it.

use super::SessionError;
use super::state::{Answer, Finished, State, Step, Tee};
use crate::deadline::Deadline;
use proto::frame::{Kind, MAX_PAYLOAD};
use proto::session::{Control, Event, OutputStream, Request, Victim, WindowSize};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much is read from the socket at once: one data frame and its header fit.
const READ_SIZE: usize = 68 << 10;

/// A session on its socket. No thread belongs to it: whoever waits for something becomes the one that reads
/// the socket for all (the leader), the others sleep until it has news for them.
#[derive(Debug)]
pub(crate) struct Session {
    socket: OwnedFd,
    /// Wakes the leader when it sleeps without watching for room to write. Absent while one thread does it all.
    wake: Option<OwnedFd>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: State,
    leader: Leader,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    /// The next one that waits.
    Vacant,
    /// A waiting thread; whether it watches for room to write.
    Waiting { for_room: bool },
    /// A poll loop of somebody else's calls [`Session::pump`].
    External,
}

/// What a look into the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    /// Bytes, the end, or an interruption.
    Something,
    /// Nothing more for now.
    Nothing,
}

/// The deadline passed first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

impl Session {
    /// A session for one thread.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            wake: None,
            inner: Mutex::new(Inner {
                state: State::new(None),
                leader: Leader::Vacant,
                buffer: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Lets several threads share the session.
    pub(crate) fn with_wake(mut self) -> Result<Self, Errno> {
        self.wake = Some(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(self)
    }

    /// Shows every byte of output to `tee` as it arrives.
    pub(crate) fn with_tee(mut self, tee: Tee) -> Self {
        self.inner
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .state = State::new(Some(tee));
        self
    }

    /// Sends the request; what the socket does not take at once follows while somebody waits.
    pub(crate) fn request(&self, request: &Request) -> Result<(), SessionError> {
        let payload = proto::encode(request);
        if payload.len() > MAX_PAYLOAD {
            return Err(SessionError::RequestTooLong(payload.len()));
        }
        let mut inner = self.lock();
        let sent = inner
            .state
            .outbox
            .send(&self.socket, Kind::Request, &payload);
        self.note_write(&mut inner, sent);
        Ok(())
    }

    /// Sends these bytes to standard input as the process takes them, then its end.
    pub(crate) fn feed(&self, bytes: Vec<u8>) {
        let mut inner = self.lock();
        inner.state.set_input(bytes);
        self.flush(&mut inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock but a tee; the state is whole even then.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `want` gives something, reading the socket meanwhile.
    pub(crate) fn drive<T>(
        &self,
        deadline: Deadline,
        mut want: impl FnMut(&mut State, BorrowedFd<'_>) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let mut inner = self.lock();
        loop {
            let wanted = want(&mut inner.state, self.socket.as_fd());
            self.flush(&mut inner);
            if let Some(wanted) = wanted {
                return Ok(wanted);
            }
            if deadline.has_passed() {
                return Err(TimedOut);
            }
            inner = self.wait_for_news(inner, deadline);
        }
    }

    fn wait_for_news<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Inner> {
        if inner.leader != Leader::Vacant {
            return match deadline.remaining() {
                None => self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(inner, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        let for_room = !inner.state.outbox.is_empty();
        inner.leader = Leader::Waiting { for_room };
        drop(inner);
        let readable = self.poll(for_room, deadline.remaining());
        let mut inner = self.lock();
        inner.leader = Leader::Vacant;
        if readable {
            self.receive(&mut inner);
        }
        self.announce();
        inner
    }

    /// Sleeps until there is something to do; whether that is something to read.
    fn poll(&self, for_room: bool, timeout: Option<Duration>) -> bool {
        let interest = if for_room {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        let wake = self.wake.as_ref().unwrap_or(&self.socket);
        let mut fds = [
            PollFd::new(&self.socket, interest),
            PollFd::new(wake, PollFlags::IN),
        ];
        let used = if self.wake.is_some() { 2 } else { 1 };
        if poll(&mut fds[..used], timeout.as_ref()).is_err() {
            return false;
        }
        let readable = fds[0]
            .revents()
            .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if used == 2 && fds[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        readable
    }

    fn receive(&self, inner: &mut Inner) -> Received {
        inner.buffer.clear();
        inner.buffer.reserve(READ_SIZE);
        let received = recv(
            &self.socket,
            rustix::buffer::spare_capacity(&mut inner.buffer),
            RecvFlags::DONTWAIT,
        );
        match received {
            Ok((0, _)) => inner.state.closed(None),
            Ok(_) => inner.state.receive(&inner.buffer),
            Err(Errno::AGAIN) => return Received::Nothing,
            Err(Errno::INTR) => {}
            Err(errno) => inner.state.closed(Some(errno)),
        }
        if inner.state.finished().is_some() && self.wake.is_some() {
            // The guest keeps a session until its last frame was read. One of a single thread closes right away.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
        Received::Something
    }

    /// Wakes everybody who waits; a session of one thread has nobody.
    fn announce(&self) {
        if self.wake.is_some() {
            self.changed.notify_all();
        }
    }

    /// Sends what waits. A leader that does not watch for room is told to.
    fn flush(&self, inner: &mut Inner) {
        inner.state.queue_credit();
        let sent = inner
            .state
            .feed(&self.socket)
            .and_then(|()| inner.state.outbox.flush(&self.socket));
        self.note_write(inner, sent);
    }

    fn note_write(&self, inner: &mut Inner, sent: Result<(), Errno>) {
        match sent {
            // What the guest said before it closed is still in the socket: the reader finds it, then the end.
            Err(Errno::PIPE | Errno::CONNRESET) => inner.state.outbox.clear(),
            Err(errno) => inner.state.closed(Some(errno)),
            Ok(()) => {}
        }
        let unwatched = matches!(
            inner.leader,
            Leader::Waiting { for_room: false } | Leader::External
        );
        if unwatched && !inner.state.outbox.is_empty() {
            self.wake_leader();
        }
    }

    fn wake_leader(&self) {
        if let Some(wake) = &self.wake {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// Waits for the end of the session.
    pub(crate) fn wait(&self, deadline: Deadline) -> Result<Finished, TimedOut> {
        self.drive(deadline, |state, _| state.finished().cloned())
    }

    /// Waits until the program runs.
    pub(crate) fn wait_started(
        &self,
        deadline: Deadline,
    ) -> Result<Result<i32, SessionError>, TimedOut> {
        self.drive(deadline, |state, _| match (state.pid(), state.finished()) {
            (Some(pid), _) => Some(Ok(pid)),
            (None, Some(Err(error))) => Some(Err(error.clone())),
            (None, Some(Ok(_))) => Some(Err(SessionError::Protocol("an exit without a start"))),
            (None, None) => None,
        })
    }

    /// Waits until the agent has done what no program is started for.
    pub(crate) fn wait_answer(
        &self,
        wanted: Answer,
        deadline: Deadline,
    ) -> Result<Result<(), SessionError>, TimedOut> {
        self.drive(deadline, |state, _| {
            match (state.answer(), state.finished()) {
                (Some(answer), _) if answer == wanted => Some(Ok(())),
                (Some(_), _) => Some(Err(SessionError::Protocol("another answer than asked for"))),
                (None, Some(Err(error))) => Some(Err(error.clone())),
                (None, Some(Ok(_))) => {
                    Some(Err(SessionError::Protocol("an exit without an answer")))
                }
                (None, None) => None,
            }
        })
    }

    /// Asks for what several messages may tell, and waits for all of them.
    pub(crate) fn ask(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Result<Vec<Event>, SessionError>, TimedOut> {
        if let Err(error) = self.request(request) {
            return Ok(Err(error));
        }
        let answered = self.wait_answer(Answer::Told, deadline)?;
        Ok(answered.map(|()| self.lock().state.take_told()))
    }

    /// Kills for want of memory the guest has told of since this was called last.
    pub(crate) fn take_memory_kills(&self) -> Vec<Option<Victim>> {
        self.lock().state.take_memory_kills()
    }

    /// Lets a workload that was frozen on this session go on.
    pub(crate) fn thaw(&self) {
        let mut inner = self.lock();
        inner.state.control(&Control::Thaw);
        self.flush(&mut inner);
    }

    /// The end of the session if it has come. Reads what is there and does not wait.
    pub(crate) fn try_wait(&self) -> Option<Finished> {
        let mut inner = self.lock();
        while inner.leader == Leader::Vacant
            && inner.state.finished().is_none()
            && self.poll(false, Some(Duration::ZERO))
        {
            self.receive(&mut inner);
            self.flush(&mut inner);
            self.announce();
        }
        inner.state.finished().cloned()
    }

    /// Sends a signal to the process group.
    pub(crate) fn signal(&self, signal: i32) {
        let mut inner = self.lock();
        inner.state.control(&Control::Signal(signal));
        self.flush(&mut inner);
    }

    /// Changes the size of the process's terminal.
    pub(crate) fn resize(&self, size: WindowSize) {
        let mut inner = self.lock();
        inner.state.control(&Control::Resize(size));
        self.flush(&mut inner);
    }

    /// Lets the process go on without this session, which ends.
    pub(crate) fn release(&self) {
        let mut inner = self.lock();
        inner.state.control(&Control::Release);
        self.flush(&mut inner);
    }

    /// Nobody reads this stream any more.
    pub(crate) fn discard(&self, stream: OutputStream) {
        let mut inner = self.lock();
        inner.state.inbox(stream).discard();
        self.flush(&mut inner);
    }

    /// Nobody writes standard input any more.
    pub(crate) fn close_stdin(&self) {
        let mut inner = self.lock();
        inner.state.close_stdin();
        self.flush(&mut inner);
    }

    /// The processes of a series that ended well, but for the last.
    pub(crate) fn take_steps(&self) -> Vec<Step> {
        self.lock().state.take_steps()
    }

    /// Kills the process, and ends the session for everybody who waits. One that has ended stays as it is.
    pub(crate) fn cancel(&self) {
        let mut inner = self.lock();
        if inner.state.finished().is_some() {
            return;
        }
        inner
            .state
            .control(&Control::Signal(crate::signals::Signal::KILL.number()));
        self.flush(&mut inner);
        inner.state.finish(Err(SessionError::Canceled));
        // Wakes whoever reads it. To the guest it means the same as the signal, should that not get through.
        let _ = shutdown(&self.socket, Shutdown::Both);
        self.announce();
    }

    /// Leaves without a word: the guest takes it for what it is, and not for the end of the input.
    pub(crate) fn hang_up(&self) {
        let mut inner = self.lock();
        // One that is gone is what we want.
        let _ = shutdown(&self.socket, Shutdown::Both);
        inner.state.closed(None);
        self.announce();
    }

    /// From here on output is kept for [`Self::take_tapped`] too.
    pub(crate) fn open_tap(&self) {
        self.lock().state.tap().get_or_insert_default();
    }

    /// From here on it is not.
    pub(crate) fn close_tap(&self) {
        let mut inner = self.lock();
        *inner.state.tap() = None;
        self.flush(&mut inner);
    }

    /// What came of each stream since this was called last.
    pub(crate) fn take_tapped(&self) -> [Vec<u8>; 2] {
        let mut inner = self.lock();
        let tap = inner.state.tap().as_mut();
        tap.map(|tap| std::mem::take(&mut tap.bytes))
            .unwrap_or_default()
    }

    /// Keeps the guest from sending more of these streams than its window, whoever reads them otherwise.
    pub(crate) fn hold(&self, streams: [bool; 2]) {
        let mut inner = self.lock();
        if let Some(tap) = inner.state.tap().as_mut().filter(|tap| tap.held != streams) {
            tap.held = streams;
            self.flush(&mut inner);
        }
    }

    /// Sends as much to standard input as the process takes now; `None` if it takes nothing anymore.
    pub(crate) fn offer_stdin(&self, bytes: &[u8]) -> Option<usize> {
        let mut inner = self.lock();
        if !inner.state.stdin_open() {
            return None;
        }
        let sent = inner.state.write_stdin(&self.socket, bytes);
        let taken = sent.as_ref().ok().copied();
        self.note_write(&mut inner, sent.map(drop));
        taken
    }

    /// Makes the caller's poll loop the leader for good: it watches [`Self::interest`] and calls [`Self::pump`].
    pub(crate) fn lead_externally(&self) {
        self.lock().leader = Leader::External;
    }

    /// What an external leader has to watch: the socket for these events, the wake-up for input.
    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags, Option<BorrowedFd<'_>>) {
        let inner = self.lock();
        let mut flags = PollFlags::empty();
        if inner.state.finished().is_none() {
            flags |= PollFlags::IN;
        }
        if !inner.state.outbox.is_empty() {
            flags |= PollFlags::OUT;
        }
        (
            self.socket.as_fd(),
            flags,
            self.wake.as_ref().map(AsFd::as_fd),
        )
    }

    /// Reads and writes what is possible now, for an external leader.
    pub(crate) fn pump(&self) {
        if let Some(wake) = &self.wake {
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        let mut inner = self.lock();
        if inner.state.finished().is_none() {
            self.receive(&mut inner);
        }
        self.flush(&mut inner);
        self.announce();
    }

    /// As [`Self::pump`], for a leader that is told of changes only. Whether there may be more to read at once.
    #[cfg(feature = "tokio")]
    pub(crate) fn pump_edge(&self) -> bool {
        let mut inner = self.lock();
        let before = inner.state.finished().is_some();
        let more = !before && self.receive(&mut inner) == Received::Something;
        if !before && inner.state.finished().is_some() {
            // The guest keeps a session until its last frame was read.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
        self.flush(&mut inner);
        more
    }

    /// Gives what `want` finds now. What it sends goes out as far as the socket takes it; whether all of it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn look<T>(
        &self,
        want: impl FnOnce(&mut State, BorrowedFd<'_>) -> Option<T>,
    ) -> (Option<T>, bool) {
        let mut inner = self.lock();
        let wanted = want(&mut inner.state, self.socket.as_fd());
        self.flush(&mut inner);
        (wanted, inner.state.outbox.is_empty())
    }

    /// Ends the session for everybody who waits, if it has not ended.
    pub(crate) fn abandon(&self) {
        let mut inner = self.lock();
        inner.state.closed(None);
        inner.leader = Leader::Vacant;
        self.announce();
    }
}
