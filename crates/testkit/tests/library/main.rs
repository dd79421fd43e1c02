//! The library as someone who embeds it uses it, on real KVM.
#![forbid(unsafe_code)]

mod contract;
mod copies;
mod crowds;
mod ends;
mod events;
mod execs;
mod files;
mod futures;
mod others;
mod pools;
mod series;
mod streams;
mod warm;
mod workloads;

use supermachine::{Image, Runtime, Vm, VmConfig};
use testkit::{Home, target};

/// A runtime in a home of the test's own, with the programs of this build.
fn runtime(home: &Home) -> Runtime {
    Runtime::builder()
        .home(home.path())
        .libexec(target::programs())
        .build()
        .unwrap()
}

/// A test image in that runtime.
fn image(home: &Home, name: &str) -> Image {
    runtime(home).pull(&home.image(name)).unwrap()
}

/// A VM of the busybox image that waits for execs.
fn idle_vm(home: &Home) -> Vm {
    image(home, "busybox").start(&VmConfig::new()).unwrap()
}

/// A VM whose main process is this shell script.
fn shell(home: &Home, config: VmConfig, script: &str) -> Vm {
    image(home, "busybox")
        .start(&config.entrypoint(["/bin/sh", "-c", script]))
        .unwrap()
}
