//! The VM of a supervisor's process, over all its lives.

use crate::config::BackOff;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::supervisor::Next;
use crate::vm::Vm;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The VM of a supervisor's process: it ends, and its restart policy starts it again.
#[derive(Debug)]
pub struct Lives {
    current: Mutex<Current>,
    /// Ends the pause before a restart.
    wake: OwnedFd,
}

#[derive(Debug)]
struct Current {
    /// None between two lives.
    vm: Option<Arc<Vm>>,
    is_to_end: bool,
}

impl Lives {
    pub(crate) fn new(vm: Vm) -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(crate::session::SessionError::Socket)?;
        Ok(Self {
            current: Mutex::new(Current {
                vm: Some(Arc::new(vm)),
                is_to_end: false,
            }),
            wake,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the VM in an orderly way, for good.
    pub fn stop(&self) -> Result<(), Error> {
        let vm = {
            let mut current = self.lock();
            current.is_to_end = true;
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
            current.vm.clone()
        };
        vm.map_or(Ok(()), |vm| vm.stop())
    }

    /// Stays with the VM until it has ended for good.
    pub(crate) fn live_out(&self, runtime: &Runtime) {
        let mut back_off = BackOff::default();
        while let Some(vm) = { self.lock().vm.clone() } {
            let born = Instant::now();
            vm.wait_gone();
            self.lock().vm = None;
            let Some(estate) = vm.inherit() else { return };
            drop(vm);
            let pause = Deadline::after(back_off.next(born.elapsed()));
            let Next::Life(estate) = estate.rest(pause, self.wake.as_fd()) else {
                return;
            };
            let revived = runtime.revive(estate);
            let mut current = self.lock();
            match revived {
                // Who wants the end now had nobody to tell.
                Ok(vm) if current.is_to_end => {
                    drop(current);
                    if let Err(error) = vm.stop() {
                        tracing::warn!(%error, "the VM did not stop");
                    }
                    return;
                }
                Ok(vm) => current.vm = Some(Arc::new(vm)),
                Err(error) => {
                    tracing::warn!(%error, "a VM is not started again");
                    return;
                }
            }
        }
    }
}
