//! The process around one VM. Only KVM, devices and the guest live here; everything about images, names and
//! people is the library's, which spawns this program and talks to it over its standard input.
//!
//! `supermachine-vmm` opens no path but /dev/kvm: every file arrives over that socket as a descriptor.

mod arch;
mod bus;
mod control;
mod disks;
mod entropy;
mod error;
mod event;
mod event_loop;
mod gate;
mod hypervisor;
mod machine;
mod memory;
mod network;
mod os;
mod probe;
mod reclaim;
mod serial;
mod slot;
mod vcpu;

use control::ControlSocket;
use error::VmmError;
use event_loop::Inherited;
use proto::control::{Event, Step, VERSION};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str =
    "supermachine-vmm runs one virtual machine for the supermachine library, which starts it.
By hand it answers to:
    --probe      what this host's KVM is, as JSON
    --version    its release";

fn main() -> ExitCode {
    let started = Instant::now();
    match std::env::args().nth(1).as_deref() {
        None => run(started),
        Some("--probe") => {
            println!("{}", probe::describe());
            ExitCode::SUCCESS
        }
        Some("--version") => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some(_) => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(started: Instant) -> ExitCode {
    let stdin = std::io::stdin();
    let Ok(socket) = stdin.as_fd().try_clone_to_owned() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    leave_terminal();
    serve(&ControlSocket::new(socket), started, None)
}

/// Runs one VM for the library at the other end of `control`; in a copy of a VMM, the one it inherited.
fn serve(control: &ControlSocket, started: Instant, inherited: Option<Inherited>) -> ExitCode {
    end_on_panic(control);
    os::make_room_for_descriptors(&std::io::stdin());
    control.send(&Event::Hello {
        version: VERSION,
        release: env!("CARGO_PKG_VERSION").into(),
    });
    let end = match event_loop::run(control, started, inherited) {
        Ok(Some(end)) => end,
        // The library is gone: there is nobody to tell.
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => error.into_end(),
    };
    control.send(&Event::Ended(end));
    ExitCode::SUCCESS
}

/// The life of a copied VMM, whose control socket is its standard input like any other's.
fn serve_copy(inherited: Inherited) -> u8 {
    let started = Instant::now();
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => {
            serve(&ControlSocket::new(socket), started, Some(inherited));
            0
        }
        Err(_) => 1,
    }
}

/// Ctrl-C in the terminal of `supermachine run` is for the workload, which hears of it from the library.
fn leave_terminal() {
    // Fails only for a process group leader, which a library that spawns us so has made us on purpose.
    let _ = rustix::process::setsid();
}

/// A panic in any thread is the end of the VM, said aloud.
fn end_on_panic(control: &ControlSocket) {
    let control = control.clone();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("{panic}");
        let message = format!("a bug in supermachine-vmm, please report it: {panic}");
        control.send(&Event::Ended(
            VmmError::new(Step::EventLoop, message).into_end(),
        ));
        std::process::exit(1);
    }));
}
