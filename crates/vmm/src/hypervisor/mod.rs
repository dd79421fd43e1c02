//! The machine underneath: one back-end per host, chosen at compile time.
//!
//! A back-end gives a [`Vm`], its [`Vcpu`](kvm::Vcpu)s and [`Exit`]s in our own words; no type of the host's interface
//! leaves its folder. KVM is the only one so far.

pub mod kvm;

pub use kvm::{Access, Exit, IrqLine, KvmError, KvmHandle, Vm, WriteEvent};
