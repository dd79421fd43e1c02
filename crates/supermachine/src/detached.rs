//! VMs that outlive the process that started them: `run -d`.
//!
//! A VM needs a supervisor. For a detached one that is a small process of its own: the program starts itself
//! again with a hidden command that does nothing but call [`supervise`].
//!
//! ```text
//! start                                   supervise
//!  | Assignment (JSON) on its stdin ------->  |  leaves the terminal's session, starts the VM
//!  | <------- Report (JSON) on its stdout     |
//!  | gives the VM to the caller               |  stays until the VM has ended
//! ```

use crate::attachment::Attachment;
use crate::config::{MainOutput, MainStdin, VmConfig};
use crate::deadline::Deadline;
use crate::error::{Error, describe};
use crate::forks::{self, Fork};
use crate::handle::Image;
use crate::lives::Lives;
use crate::packet;
use crate::poll;
use crate::record::{Record, Registry};
use crate::runtime::Runtime;
use crate::snapshots::Snapshot;
use crate::supervisor::Tenure;
use crate::vm::Vm;
use image::ImageRef;
use proto::supervisor::Reply;
use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::net::SocketType;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

/// How the supervisor's process is started: a program and the words that make it call [`supervise`].
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program; [`std::env::current_exe`] as a rule.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What comes with descriptors ahead of the assignment.
const DESCRIPTORS: u8 = 1;

/// What the supervisor is to start.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    home: PathBuf,
    libexec: Option<PathBuf>,
    what: What,
    config: VmConfig,
}

/// Where the VM comes from.
#[derive(Debug, Serialize, Deserialize)]
enum What {
    Image {
        /// As the caller wrote it.
        reference: String,
        /// What it meant when the caller looked.
        digest: String,
    },
    Snapshot {
        name: String,
    },
    /// A VM that has a record, by its id.
    Again {
        id: String,
    },
    /// A copy that was made already; its descriptors come before this.
    Fork {
        of: Box<Record>,
        pid: i32,
        base: Option<String>,
    },
}

/// How the start went.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Started {
        id: String,
    },
    Failed {
        message: String,
        exit_code: i32,
        hint: Option<String>,
    },
}

/// Starts a VM under a supervisor of its own and returns when its workload runs, with every error a start in
/// this process would give. Dropping the handle leaves the VM alone. The main process has no streams but the
/// log; [`Vm::attach`] connects to them.
pub fn start(image: &Image, config: &VmConfig, launcher: &Launcher) -> Result<Vm, Error> {
    let what = What::Image {
        reference: image.reference().to_owned(),
        digest: image.digest(),
    };
    assign(image.runtime(), what, config, launcher, &[])
}

/// As [`start`], with somebody in front of the workload from its first byte on. When the attachment goes, the VM stays.
pub fn start_attached(
    image: &Image,
    config: &VmConfig,
    launcher: &Launcher,
) -> Result<(Vm, Attachment), Error> {
    let what = What::Image {
        reference: image.reference().to_owned(),
        digest: image.digest(),
    };
    let (ours, theirs) =
        packet::pair(SocketType::STREAM).map_err(|errno| failed(launcher, errno.into()))?;
    let attachment = Attachment::new(ours, config)?;
    let vm = assign(image.runtime(), what, config, launcher, &[theirs.as_fd()])?;
    Ok((vm, attachment))
}

/// As [`start`], of a VM that goes on where a snapshot was made.
pub fn start_snapshot(
    snapshot: &Snapshot,
    config: &VmConfig,
    launcher: &Launcher,
) -> Result<Vm, Error> {
    let what = What::Snapshot {
        name: snapshot.name().to_owned(),
    };
    assign(snapshot.runtime(), what, config, launcher, &[])
}

/// Starts a VM that has ended, or was only created, under its name, with its disk. One that runs is given as it is.
pub fn start_again(runtime: &Runtime, name: &str, launcher: &Launcher) -> Result<Vm, Error> {
    let summary = runtime.vm_summary(name)?;
    if summary.status.is_live() {
        return runtime.open_vm(&summary.id);
    }
    let what = What::Again { id: summary.id };
    assign(runtime, what, &VmConfig::new(), launcher, &[])
}

/// As [`start_again`], with somebody in front of the workload from its first byte on; of a VM that runs, from now on.
/// With [`MainStdin::Stream`], input is passed on to a workload that was given one when the VM was made; in a VM that
/// starts here and has no terminal, its end is the end of the workload's.
pub fn start_again_attached(
    runtime: &Runtime,
    name: &str,
    stdin: MainStdin,
    launcher: &Launcher,
) -> Result<(Vm, Attachment), Error> {
    let (record, _) = Registry::new(runtime.state()).find(name)?;
    if runtime.vm_summary(&record.id)?.status.is_live() {
        let vm = runtime.open_vm(&record.id)?;
        let mut attachment = vm.attach()?;
        if stdin == MainStdin::Null {
            attachment.stdin = None;
        }
        return Ok((vm, attachment));
    }
    let (ours, theirs) =
        packet::pair(SocketType::STREAM).map_err(|errno| failed(launcher, errno.into()))?;
    // One without a writer ends nobody's input.
    let stdin = match stdin {
        MainStdin::Stream => record.config.stdin,
        MainStdin::Null => MainStdin::Null,
    };
    let attachment = Attachment::new(ours, &record.config.clone().stdin(stdin))?;
    let what = What::Again { id: record.id };
    let config = VmConfig::new();
    let vm = assign(runtime, what, &config, launcher, &[theirs.as_fd()])?;
    Ok((vm, attachment))
}

/// As [`Vm::fork`], with each copy under a supervisor of its own. Without all there is none.
pub fn fork(vm: &Vm, count: u32, launcher: &Launcher) -> Result<Vec<Vm>, Error> {
    let record = vm.record_now()?;
    let config = forks::of_copies(&record.config);
    let start = |fork: Fork| {
        let what = What::Fork {
            of: Box::new(record.clone()),
            pid: fork.pid,
            base: fork.base.map(|digest| digest.to_string()),
        };
        let descriptors = [fork.control.as_fd(), fork.pidfd.as_fd()].into_iter();
        let descriptors: Vec<_> = descriptors
            .chain(fork.disk.iter().map(AsFd::as_fd))
            .collect();
        assign(vm.runtime(), what, &config, launcher, &descriptors)
    };
    let started = forks::ask(&vm.supervisor(), count, |forks| {
        forks::start_all(forks, &start)
    })?;
    started.map_err(|(error, started)| {
        // Those that are left end when their sockets close; these have supervisors.
        started.iter().for_each(|copy| drop(copy.kill()));
        error
    })
}

fn assign(
    runtime: &Runtime,
    what: What,
    config: &VmConfig,
    launcher: &Launcher,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Vm, Error> {
    let assignment = Assignment {
        home: runtime.home().to_owned(),
        libexec: runtime
            .libexec()
            .map(std::path::absolute)
            .transpose()
            .map_err(|source| failed(launcher, source))?,
        what,
        config: config.clone().output(MainOutput::LogOnly),
    };
    match launch(launcher, &assignment, descriptors).map_err(|source| failed(launcher, source))? {
        Report::Started { id } => runtime.open_vm(&id),
        Report::Failed {
            message,
            exit_code,
            hint,
        } => Err(Error::Detached {
            message,
            exit_code,
            hint,
        }),
    }
}

fn failed(launcher: &Launcher, source: io::Error) -> Error {
    Error::Launch {
        program: launcher.program.clone(),
        source,
    }
}

/// Descriptors need a socket as standard input; they go ahead of the assignment.
fn launch(
    launcher: &Launcher,
    assignment: &Assignment,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Report> {
    let (ours, theirs) = if descriptors.is_empty() {
        let (theirs, ours) = io::pipe()?;
        (OwnedFd::from(ours), OwnedFd::from(theirs))
    } else {
        packet::pair(SocketType::STREAM)?
    };
    let mut child = Command::new(&launcher.program)
        .args(&launcher.args)
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = if descriptors.is_empty() {
        Ok(())
    } else {
        packet::send(&ours, &DESCRIPTORS, descriptors, Deadline::NEVER).map_err(io::Error::other)
    }
    .and_then(|()| converse(&mut child, ours.into(), assignment));
    match answer {
        Ok(Some(report)) => {
            // Collects it when it ends; a process that ends first leaves that to init.
            std::thread::Builder::new()
                .name("supervisor".into())
                .spawn(move || child.wait())?;
            Ok(report)
        }
        Ok(None) => {
            let status = child.wait()?;
            Err(io::Error::other(format!(
                "it ended without a report ({status})"
            )))
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Gives the assignment and waits for the report; `None` if it ended without one.
fn converse(
    child: &mut Child,
    mut stdin: File,
    assignment: &Assignment,
) -> io::Result<Option<Report>> {
    match stdin.write_all(&serde_json::to_vec(assignment)?) {
        // It ended before it read everything: its status says more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
        other => other?,
    }
    drop(stdin);
    let mut answer = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut answer)?;
    }
    if answer.is_empty() {
        Ok(None)
    } else {
        Ok(Some(serde_json::from_slice(&answer)?))
    }
}

/// The whole life of a supervisor's process. Reads what to start from standard input, leaves the session of
/// its terminal, reports the start on standard output, and returns when the VM has ended.
pub fn supervise() -> ExitCode {
    supervise_with(|_| {})
}

/// As [`supervise`]; `running` is shown the VM when it runs, so that a program that handles signals can stop
/// it in an orderly way, from another thread.
pub fn supervise_with(running: impl FnOnce(&Arc<Lives>)) -> ExitCode {
    // It may have been started by another path, /proc/self/exe for one, and would be called that in lists.
    let _ = rustix::thread::set_name(c"supermachine");
    // Fails only for a process group leader, which has no terminal to lose then.
    let _ = rustix::process::setsid();
    let started = read_assignment().and_then(|(assignment, fds)| begin(assignment, fds));
    let reported = report(&match &started {
        Ok((_, vm)) => Report::Started {
            id: vm.id().to_owned(),
        },
        Err(error) => Report::Failed {
            message: describe(error),
            exit_code: error.exit_code(),
            hint: error.hint(),
        },
    });
    let Ok((runtime, vm)) = started else {
        return ExitCode::FAILURE;
    };
    if reported.is_err() {
        // Whoever asked is gone before the answer; the VM has a name and can be found.
        tracing::info!(vm = vm.name(), "nobody waits for the report");
    }
    let Ok(lives) = Lives::new(vm) else {
        return ExitCode::FAILURE;
    };
    let lives = Arc::new(lives);
    running(&lives);
    lives.live_out(&runtime);
    ExitCode::SUCCESS
}

fn read_assignment() -> Result<(Assignment, Vec<OwnedFd>), Error> {
    let mut text = Vec::new();
    let read = receive_descriptors().and_then(|fds| {
        io::stdin().read_to_end(&mut text)?;
        Ok((serde_json::from_slice(&text)?, fds))
    });
    read.map_err(|source| Error::Launch {
        program: PathBuf::from("-"),
        source,
    })
}

/// What came ahead of the assignment, if standard input is a socket.
fn receive_descriptors() -> io::Result<Vec<OwnedFd>> {
    let stdin = io::stdin();
    let mode = rustix::fs::fstat(&stdin)?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::Socket {
        return Ok(Vec::new());
    }
    poll::ready(&stdin, PollFlags::IN, Deadline::NEVER);
    // A message with descriptors is never received together with what follows it.
    match packet::try_receive::<u8>(&stdin).map_err(io::Error::other)? {
        Some((DESCRIPTORS, fds)) => Ok(fds),
        _ => Err(io::Error::other("no descriptors came with the assignment")),
    }
}

fn begin(assignment: Assignment, mut fds: Vec<OwnedFd>) -> Result<(Runtime, Vm), Error> {
    let mut builder = Runtime::builder()
        .home(&assignment.home)
        .tenure(Tenure::Process);
    if let Some(dir) = &assignment.libexec {
        builder = builder.libexec(dir);
    }
    let runtime = builder.build()?;
    let vm = match assignment.what {
        What::Image { reference, digest } => {
            let id: ImageRef = digest.parse()?;
            let stored = runtime.store()?.get(&id)?;
            let stored = stored.ok_or_else(|| Error::ImageGone(reference.clone()))?;
            let image = runtime.image(stored, &reference);
            image.start_attached(&assignment.config, fds.pop())?
        }
        What::Snapshot { name } => runtime.snapshot(&name)?.start(&assignment.config)?,
        What::Again { id } => runtime.start_again(&id, fds.pop())?,
        What::Fork { of, pid, base } => {
            let fork = Fork::from_reply(&Reply::Forked { pid, base }, fds);
            let fork = fork.ok_or(Error::Client(crate::ClientError::NoStream))?;
            fork.start(&runtime, &of, &assignment.config)?
        }
    };
    Ok((runtime, vm))
}

/// Writes the report and closes standard output, which is what the other side waits for.
fn report(report: &Report) -> io::Result<()> {
    let text = serde_json::to_vec(report)?;
    let mut stdout = io::stdout();
    stdout.write_all(&text).and_then(|()| stdout.flush())?;
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(script: &str) -> Launcher {
        Launcher {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        }
    }

    fn assignment() -> Assignment {
        Assignment {
            home: "/nowhere".into(),
            libexec: None,
            what: What::Image {
                reference: "busybox".into(),
                digest: "sha256:00".into(),
            },
            config: VmConfig::new(),
        }
    }

    #[test]
    fn the_report_of_a_failed_start_keeps_message_code_and_hint() {
        let script =
            r#"cat >/dev/null; echo '{"Failed":{"message":"no","exit_code":127,"hint":"look"}}'"#;
        let report = launch(&launcher(script), &assignment(), &[]).unwrap();
        assert!(
            matches!(report, Report::Failed { message, exit_code: 127, hint: Some(_) } if message == "no")
        );
    }

    #[test]
    fn a_supervisor_that_dies_or_talks_nonsense_is_an_error_with_its_status() {
        let error = launch(&launcher("exit 3"), &assignment(), &[]).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(launch(&launcher("cat >/dev/null; echo hello"), &assignment(), &[]).is_err());
        assert!(
            launch(
                &Launcher {
                    program: "/nonexistent".into(),
                    args: vec![]
                },
                &assignment(),
                &[]
            )
            .is_err()
        );
    }
}
