//! What the handles of a pool, its VMs and its threads share.

use super::error::PoolError;
use super::member::Member;
use super::memory::{Admission, Available};
use super::origin::Origin;
use super::seat::{Seat, Turn};
use super::state::{Bounds, Fate, Job, Next, State};
use crate::config::VmConfig;
use crate::deadline::Deadline;
use crate::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a pool was asked to be.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) bounds: Bounds,
    pub(super) acquire_timeout: Duration,
    pub(super) after_use: Fate,
    pub(super) config: VmConfig,
    pub(super) available: Available,
}

/// What the handles of a pool, its VMs and its threads share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    origin: Origin,
    state: Mutex<State<Member>>,
    /// There may be something to make or to check.
    makers: Condvar,
    /// There may be something to end.
    keeper: Condvar,
    /// More is ready, or something has failed.
    changed: Condvar,
    admission: Admission,
    serial: AtomicU64,
}

/// Sleeps until told, or until this moment.
fn sleep<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    until: Option<Instant>,
) -> MutexGuard<'a, T> {
    match until.map(|until| until.saturating_duration_since(Instant::now())) {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(left) => {
            let slept = condvar.wait_timeout(guard, left);
            slept.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// A maker at work. What it was about to make is not waited for if its thread breaks.
struct Shift<'a>(&'a Core);

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().maker_broke();
            self.0.tell_all();
        }
    }
}

impl Core {
    pub(super) fn new(settings: Settings, origin: Origin) -> Self {
        let memory_mib = origin.memory_mib(&settings.config);
        Self {
            state: Mutex::new(State::new(settings.bounds)),
            admission: Admission::new(settings.available.clone(), memory_mib),
            settings,
            origin,
            makers: Condvar::new(),
            keeper: Condvar::new(),
            changed: Condvar::new(),
            serial: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<Member>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody looks again.
    fn tell_all(&self) {
        self.makers.notify_all();
        self.keeper.notify_one();
        self.changed.notify_all();
    }

    /// A VM that is alive.
    pub(super) fn acquire(&self, deadline: Deadline) -> Result<Member, Error> {
        let began = Instant::now();
        let mut turn = Turn::Last;
        loop {
            let member = self.take(turn, deadline, began)?;
            let now = Instant::now();
            let pulse = member.pulse();
            if pulse.is_alive() {
                self.state()
                    .handed_out(now.saturating_duration_since(began));
                return Ok(member);
            }
            self.state().was_dead(member, pulse.last_words(), now);
            self.tell_all();
            turn = Turn::First;
        }
    }

    fn take(&self, turn: Turn, deadline: Deadline, began: Instant) -> Result<Member, Error> {
        let mut state = self.state();
        if let Some(member) = state.take() {
            drop(state);
            self.makers.notify_one();
            return Ok(member);
        }
        let seat = state.wait(turn);
        self.makers.notify_one();
        loop {
            match seat.take() {
                Some(Ok(member)) => return Ok(member),
                Some(Err(error)) => return Err(Error::Shared(error)),
                None if deadline.has_passed() => return Err(self.give_up(state, &seat, began)),
                None => state = sleep(&seat.given, state, deadline.moment()),
            }
        }
    }

    fn give_up(
        &self,
        mut state: MutexGuard<'_, State<Member>>,
        seat: &Arc<Seat<Member>>,
        began: Instant,
    ) -> Error {
        state.leave(seat);
        let standing = state.standing();
        drop(state);
        PoolError::in_vain(&self.settings, standing, began.elapsed()).into()
    }

    /// A VM comes back from whoever used it.
    pub(super) fn give_back(&self, member: Member, fate: Fate) {
        let fate = match fate {
            Fate::Check if !member.pulse().is_alive() => Fate::End,
            fate => fate,
        };
        if fate == Fate::End {
            member.doom();
        }
        let mut state = self.state();
        state.give_back(member, fate);
        let orphan = state.is_closed();
        drop(state);
        if orphan {
            // The pool's threads may be gone.
            self.end_what_is_there();
        } else {
            self.makers.notify_one();
            self.keeper.notify_one();
        }
    }

    /// Waits until as many are ready as are to be, or until one could not be made.
    pub(super) fn wait_ready(&self, deadline: Deadline) -> Result<(), Error> {
        let began = Instant::now();
        let mut state = self.state();
        let failed = state.counts.failed;
        loop {
            let standing = state.standing();
            if standing.ready >= self.settings.bounds.min {
                return Ok(());
            }
            if let Some(error) = standing.failure.clone()
                && state.counts.failed > failed
            {
                return Err(Error::Shared(error));
            }
            if deadline.has_passed() {
                let vain = PoolError::in_vain(&self.settings, standing, began.elapsed());
                return Err(vain.into());
            }
            state = sleep(&self.changed, state, deadline.moment());
        }
    }

    /// What a maker's thread does until the pool is closed.
    pub(super) fn make_and_check(self: &Arc<Self>) {
        let _shift = Shift(self);
        while let Some(job) = self.next_job() {
            match job {
                Job::Make => self.make(),
                Job::Check(member) => self.bring_in_if_well(member, &Job::Check(())),
            }
            self.tell_all();
        }
    }

    fn next_job(&self) -> Option<Job<Member>> {
        let mut state = self.state();
        loop {
            match state.next_job(Instant::now()) {
                Next::Do(job) => return Some(job),
                Next::Stop => return None,
                Next::Wait(until) => state = sleep(&self.makers, state, until),
            }
        }
    }

    fn make(self: &Arc<Self>) {
        match self.admission.ask() {
            Ok(Ok(())) => {}
            Ok(Err(shortage)) => return self.state().short(shortage, Instant::now()),
            Err(error) => return self.not_made(PoolError::Memory(error).into()),
        }
        match self.origin.start(&self.settings.config) {
            Ok(vm) => {
                let serial = self.serial.fetch_add(1, Ordering::Relaxed);
                let member = Member { vm, serial };
                self.admission.came(serial, member.pid());
                self.bring_in_if_well(member, &Job::Make);
            }
            Err(error) => {
                self.admission.will_not_come();
                self.not_made(error);
            }
        }
    }

    fn not_made(&self, error: Error) {
        self.state().failed(&Arc::new(error), Instant::now());
    }

    /// Has the guest answer first. What a first process costs more than the next, mostly pages that it is the first to
    /// touch, is not left to whoever gets the VM.
    fn bring_in_if_well(self: &Arc<Self>, member: Member, job: &Job<()>) {
        match member.examine() {
            Ok(()) => self.bring_in(member, job),
            Err(cause) => {
                member.doom();
                self.state().unwell(member, cause, Instant::now());
            }
        }
    }

    /// Gives a VM to whoever has waited longest, or keeps it ready.
    fn bring_in(self: &Arc<Self>, member: Member, job: &Job<()>) {
        if *job == Job::Make {
            self.watch(&member);
        }
        let (pulse, serial) = (member.pulse(), member.serial);
        self.state().done(job, member, Instant::now());
        // Its end may have been told before it was among those that are ready.
        if !pulse.is_alive() {
            let cause = pulse.last_words();
            self.state()
                .died(|other| other.serial == serial, cause, Instant::now());
        }
    }

    /// Has a VM replaced that ends while nobody uses it.
    fn watch(self: &Arc<Self>, member: &Member) {
        let (core, serial) = (Arc::downgrade(self), member.serial);
        member.watch(move |cause| {
            if let Some(core) = core.upgrade() {
                core.state()
                    .died(|other| other.serial == serial, cause, Instant::now());
                core.tell_all();
            }
        });
    }

    /// What the keeper's thread does until the pool is closed and has ended everything.
    pub(super) fn keep(self: &Arc<Self>) {
        let mut state = self.state();
        loop {
            match state.next_end(Instant::now()) {
                Next::Do(members) => {
                    drop(state);
                    self.end(members);
                    state = self.state();
                }
                Next::Stop => return,
                Next::Wait(until) => state = sleep(&self.keeper, state, until),
            }
        }
    }

    /// As the keeper does, without waiting for more.
    pub(super) fn end_what_is_there(&self) {
        let next = self.state().next_end(Instant::now());
        if let Next::Do(members) = next {
            self.end(members);
        }
    }

    /// Ends VMs all at once, and waits for one after the other.
    fn end(&self, members: Vec<Member>) {
        members.iter().for_each(Member::doom);
        for member in members {
            let serial = member.serial;
            member.end();
            self.admission.gone(serial);
            self.state().ended();
            self.makers.notify_all();
        }
    }

    /// Nobody can ask for VMs any more.
    pub(super) fn close(&self) {
        self.state().close();
        self.tell_all();
    }
}
