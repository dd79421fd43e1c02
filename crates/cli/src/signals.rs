//! Signals that reach us while something runs for the user.
//!
//! What a signal means depends on how far we are: during a pull it cancels the pull, during the start of a VM
//! it takes effect when that is over, and then it is the workload's. A second one does not wait for manners.

use crate::{exit_code, terminal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use supermachine::images::Cancel;
use supermachine::{Child, Signal, Vm};

/// Signals that ask for an end.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Signals that are the workload's own business.
const OTHER: [i32; 2] = [SIGUSR1, SIGUSR2];

/// How long a workload that was killed, or lost its reader, gets before its VM goes with it.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Who signals are for.
pub trait Recipient: Send + Sync {
    /// Passes a signal on. One that cannot be delivered is lost: the end of the recipient explains it.
    fn pass_on(&self, signal: Signal);

    /// Sends a last signal, and kills what does not end by it. Returns when that is done.
    fn end(&self, signal: Signal);
}

impl Recipient for Vm {
    fn pass_on(&self, signal: Signal) {
        if let Err(error) = self.signal(signal) {
            tracing::debug!(%signal, %error, "the signal was not delivered");
        }
    }

    fn end(&self, signal: Signal) {
        if let Err(error) = self.stop_with(Some(signal), Some(LAST_GRACE)) {
            tracing::debug!(%signal, %error, "the VM did not stop");
        }
    }
}

impl Recipient for Child {
    fn pass_on(&self, signal: Signal) {
        self.signal(signal);
    }

    fn end(&self, signal: Signal) {
        self.signal(signal);
        if self.wait_deadline(LAST_GRACE).is_err() {
            self.signal(Signal::KILL);
        }
    }
}

/// What a signal means at the moment.
enum Phase {
    /// It ends the command at once.
    Exit,
    /// It cancels this.
    Cancel(Cancel),
    /// It is remembered until something is there that it can be for.
    Remember,
    /// It is for the workload.
    Running(Arc<dyn Recipient>),
}

struct Shared {
    state: Mutex<State>,
    /// Held while a recipient is dealt with.
    delivery: Mutex<()>,
}

struct State {
    phase: Phase,
    /// The first signal that asked for an end.
    ending: Option<i32>,
    killed: bool,
}

/// Receives signals from its creation to its end.
pub struct Relay {
    shared: Arc<Shared>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts receiving. Signals that we were started to ignore (`nohup`, a background job of a script) stay ignored.
    pub fn start() -> std::io::Result<Self> {
        let ignored = ignored_signals();
        let received = ENDING
            .iter()
            .chain(&OTHER)
            .filter(|number| ignored & mask(**number) == 0);
        let mut signals = Signals::new(received)?;
        let shared = Arc::new(Shared::new(Phase::Remember));
        let handle = signals.handle();
        let thread = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    signals
                        .forever()
                        .for_each(|number| receive(&shared, number));
                }
            })?;
        Ok(Self {
            shared,
            handle,
            thread: Some(thread),
        })
    }

    /// From here on a signal cancels this.
    pub fn cancels(&self, cancel: &Cancel) {
        lock(&self.shared.state).phase = Phase::Cancel(cancel.clone());
    }

    /// From here on a signal is remembered.
    pub fn remembers(&self) {
        lock(&self.shared.state).phase = Phase::Remember;
    }

    /// From here on a signal is for this; so is one that was remembered.
    pub fn is_for(&self, recipient: Arc<dyn Recipient>) {
        self.shared.run(recipient);
    }

    /// From here on a signal ends the command at once, and the relay holds no recipient any more. Waits for
    /// one that is being killed.
    pub fn exits(&self) {
        lock(&self.shared.state).phase = Phase::Exit;
        drop(lock(&self.shared.delivery));
    }

    /// The exit code, if a signal asked for the end of something that was not there yet.
    pub fn interrupted(&self) -> Option<u8> {
        lock(&self.shared.state).ending.map(exit_code::of_signal)
    }

    /// Whether a second signal killed the recipient.
    pub fn has_killed(&self) -> bool {
        lock(&self.shared.state).killed
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn new(phase: Phase) -> Self {
        Self {
            state: Mutex::new(State {
                phase,
                ending: None,
                killed: false,
            }),
            delivery: Mutex::new(()),
        }
    }

    /// Gives signals a recipient, first of all the one that came between the start of the recipient and now.
    fn run(&self, recipient: Arc<dyn Recipient>) {
        let mut state = lock(&self.state);
        let _delivery = lock(&self.delivery);
        let remembered = match state.phase {
            Phase::Remember => state.ending,
            _ => None,
        };
        state.phase = Phase::Running(Arc::clone(&recipient));
        drop(state);
        if let Some(Ok(signal)) = remembered.map(Signal::try_from) {
            recipient.pass_on(signal);
        }
    }
}

fn receive(shared: &Shared, number: i32) {
    let Ok(signal) = Signal::try_from(number) else {
        return;
    };
    let mut state = lock(&shared.state);
    let is_ending = ENDING.contains(&number);
    let is_first = state.ending.is_none();
    if is_ending && is_first {
        state.ending = Some(number);
    }
    match &state.phase {
        Phase::Running(recipient) => {
            let _delivery = lock(&shared.delivery);
            let recipient = Arc::clone(recipient);
            let kill = is_ending && !is_first;
            state.killed |= kill;
            drop(state);
            if kill {
                recipient.end(Signal::KILL);
            } else {
                recipient.pass_on(signal);
            }
        }
        Phase::Cancel(cancel) if is_first && is_ending => cancel.cancel(),
        Phase::Remember if is_first => {}
        // What half-exists now ends with this process and is swept by the next one.
        _ if is_ending => {
            terminal::restore();
            std::process::exit(exit_code::of_signal(number).into());
        }
        _ => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is valid after every statement that holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn mask(number: i32) -> u64 {
    1 << (number - 1)
}

/// The signals this process ignores, as the kernel tells: asking for one's own dispositions is unsafe in Rust.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status).unwrap_or(0)
}

fn parse_ignored(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Recipient for Recorder {
        fn pass_on(&self, signal: Signal) {
            self.0.lock().unwrap().push(format!("{signal}"));
        }

        fn end(&self, signal: Signal) {
            self.0.lock().unwrap().push(format!("end {signal}"));
        }
    }

    #[test]
    fn the_first_signal_is_the_workloads_and_a_second_kills() {
        let recorder = Arc::new(Recorder::default());
        let shared = Shared::new(Phase::Running(Arc::clone(&recorder) as _));
        for number in [SIGUSR1, SIGINT, SIGUSR2, SIGTERM] {
            receive(&shared, number);
        }
        assert_eq!(
            *recorder.0.lock().unwrap(),
            ["SIGUSR1", "SIGINT", "SIGUSR2", "end SIGKILL"]
        );
        assert!(lock(&shared.state).killed);
    }

    #[test]
    fn a_signal_during_a_pull_cancels_it() {
        let cancel = Cancel::new();
        let shared = Shared::new(Phase::Cancel(cancel.clone()));
        receive(&shared, SIGUSR1);
        assert!(!cancel.is_cancelled());
        receive(&shared, SIGTERM);
        assert!(cancel.is_cancelled());
        assert_eq!(lock(&shared.state).ending, Some(SIGTERM));
    }

    #[test]
    fn a_signal_before_the_workload_can_be_told_reaches_it_and_the_next_one_kills() {
        let recorder = Arc::new(Recorder::default());
        let shared = Shared::new(Phase::Remember);
        receive(&shared, SIGHUP);
        assert_eq!(lock(&shared.state).ending, Some(SIGHUP));
        shared.run(Arc::clone(&recorder) as _);
        receive(&shared, SIGHUP);
        assert_eq!(*recorder.0.lock().unwrap(), ["SIGHUP", "end SIGKILL"]);
    }

    #[test]
    fn ignored_signals_are_read_from_the_kernels_words() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(parse_ignored(status), Some(mask(13) | mask(SIGHUP)));
        assert_eq!(parse_ignored(""), None);
    }
}
