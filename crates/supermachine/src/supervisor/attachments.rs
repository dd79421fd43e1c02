//! Everybody in front of the workload.

use super::attachment::{Attachment, Input};
use super::shared::Outcome;
use crate::deadline::Deadline;
use crate::error::describe;
use crate::poll;
use crate::session::Session;
use crate::signals::Signal;
use proto::session::{Control, Event, Failure, FailureKind, OutputStream, WindowSize};
use rustix::event::PollFlags;
use std::os::fd::{BorrowedFd, OwnedFd};

const STREAMS: [OutputStream; 2] = [OutputStream::Stdout, OutputStream::Stderr];

/// Everybody in front of the workload. Each gets all output; what any of them types is the workload's input.
#[derive(Debug)]
pub(super) struct Attachments {
    /// The guest does not understand sizes without one.
    has_terminal: bool,
    all: Vec<Attachment>,
}

impl Attachments {
    /// With the first one, if there is one already.
    pub(super) fn new(tty: Option<WindowSize>, first: Option<OwnedFd>) -> Self {
        // It started the VM: the end of its input is the end of the workload's. A terminal has no such end.
        let input = match tty {
            Some(_) => Input::OneOfMany,
            None => Input::Only,
        };
        let starter = |socket| Attachment::new(socket, input);
        Self {
            has_terminal: tty.is_some(),
            all: first.into_iter().map(starter).collect(),
        }
    }

    /// One more. It gets what is written from now on.
    pub(super) fn add(&mut self, socket: OwnedFd, main: &Session) {
        main.open_tap();
        // What came so far is for those who were there.
        self.distribute(main);
        self.all.push(Attachment::new(socket, Input::OneOfMany));
    }

    /// What to watch.
    pub(super) fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.all.iter().map(Attachment::interest)
    }

    /// Moves everything both ways that goes without waiting.
    pub(super) fn exchange(&mut self, main: &Session) {
        if self.all.is_empty() {
            return main.pump();
        }
        let has_terminal = self.has_terminal;
        self.all.retain_mut(|attachment| {
            let Ok(wishes) = attachment.receive() else {
                // What was typed before it left is still for the workload.
                attachment.feed(|bytes| main.offer_stdin(bytes));
                return false;
            };
            for wish in wishes {
                carry_out(&wish, main, has_terminal);
            }
            true
        });
        main.pump();
        for attachment in &mut self.all {
            attachment.feed(|bytes| main.offer_stdin(bytes));
        }
        if self.all.iter().any(Attachment::ends_input) {
            main.close_stdin();
        }
        self.distribute(main);
        if self.all.is_empty() {
            main.close_tap();
        } else {
            let is_behind = |stream| self.all.iter().any(|one| one.is_behind(stream));
            main.hold(STREAMS.map(is_behind));
        }
    }

    fn distribute(&mut self, main: &Session) {
        let tapped = main.take_tapped();
        self.all.retain_mut(|attachment| {
            for stream in STREAMS {
                attachment.push(stream, &tapped[stream as usize]);
            }
            attachment.send().is_ok() && !attachment.is_over()
        });
    }

    /// Tells everybody that the workload could not be started, though the VM stays.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.all.retain_mut(|attachment| {
            attachment.finish(Some(Event::Failed(failure.clone())));
            attachment.send().is_ok() && !attachment.is_over()
        });
    }

    /// Tells everybody how it ended, and waits until those who are there have read all of it.
    pub(super) fn dismiss(mut self, main: &Session, outcome: &Outcome) {
        self.distribute(main);
        for attachment in &mut self.all {
            attachment.finish(last_event(outcome));
        }
        loop {
            self.all.retain_mut(|attachment| {
                attachment.send().is_ok() && !attachment.is_over() && attachment.receive().is_ok()
            });
            // What was received may be credit.
            self.all
                .retain_mut(|attachment| attachment.send().is_ok() && !attachment.is_over());
            if self.all.is_empty() {
                return;
            }
            let fds: Vec<_> = self.interest().collect();
            poll::any(&fds, Deadline::NEVER);
        }
    }
}

fn carry_out(wish: &Control, main: &Session, has_terminal: bool) {
    match *wish {
        Control::Resize(size) if has_terminal => main.resize(size),
        Control::Signal(number) if Signal::try_from(number).is_ok() => main.signal(number),
        // What means nothing to this workload.
        _ => {}
    }
}

/// A VM that was stopped has no more to say than that its streams end.
fn last_event(outcome: &Outcome) -> Option<Event> {
    match outcome {
        Outcome::Exited(exit) => Some(Event::Exited(*exit)),
        Outcome::Stopped => None,
        Outcome::Failed(error) => Some(Event::Failed(Failure {
            kind: FailureKind::System,
            context: describe(error),
            errno: 0,
        })),
    }
}
