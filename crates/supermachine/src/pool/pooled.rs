//! A VM on loan.

use super::core::Core;
use super::member::Member;
use super::state::Fate;
use crate::vm::Vm;
use std::ops::Deref;
use std::sync::Arc;

/// A VM of a pool, for as long as this lives. Dropping it gives it back, which waits for nothing.
#[derive(Debug)]
pub struct PooledVm {
    core: Arc<Core>,
    /// There until it is given back.
    member: Option<Member>,
}

impl PooledVm {
    pub(super) const fn new(core: Arc<Core>, member: Member) -> Self {
        Self {
            core,
            member: Some(member),
        }
    }

    /// Gives the VM back, as dropping it does.
    pub fn release(self) {}

    /// Gives the VM back so that nobody gets it any more, even without
    /// [`restore_on_release`](crate::PoolBuilder::restore_on_release).
    pub fn discard(mut self) {
        self.give_back(Fate::End);
    }

    fn give_back(&mut self, fate: Fate) {
        if let Some(member) = self.member.take() {
            self.core.give_back(member, fate);
        }
    }
}

impl Deref for PooledVm {
    type Target = Vm;

    fn deref(&self) -> &Vm {
        match &self.member {
            Some(member) => &member.vm,
            None => unreachable!("only what consumes the handle takes the VM out of it"),
        }
    }
}

impl Drop for PooledVm {
    fn drop(&mut self) {
        self.give_back(self.core.settings.after_use);
    }
}
