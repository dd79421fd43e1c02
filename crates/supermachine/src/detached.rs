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

use crate::config::{MainOutput, MainStdin, VmConfig};
use crate::error::{Error, describe};
use crate::handle::Image;
use crate::runtime::Runtime;
use crate::vm::Vm;
use image::ImageRef;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Read, Write};
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

/// What the supervisor is to start.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    home: PathBuf,
    libexec: Option<PathBuf>,
    /// As the caller wrote it.
    reference: String,
    /// What it meant when the caller looked.
    digest: String,
    config: VmConfig,
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
/// log.
pub fn start(image: &Image, config: &VmConfig, launcher: &Launcher) -> Result<Vm, Error> {
    let runtime = image.runtime();
    let assignment = Assignment {
        home: runtime.home().to_owned(),
        libexec: runtime
            .libexec()
            .map(std::path::absolute)
            .transpose()
            .map_err(|source| failed(launcher, source))?,
        reference: image.reference().to_owned(),
        digest: image.digest(),
        config: config
            .clone()
            .stdin(MainStdin::Null)
            .output(MainOutput::LogOnly),
    };
    match launch(launcher, &assignment).map_err(|source| failed(launcher, source))? {
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

fn launch(launcher: &Launcher, assignment: &Assignment) -> io::Result<Report> {
    let mut child = Command::new(&launcher.program)
        .args(&launcher.args)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = converse(&mut child, assignment);
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
fn converse(child: &mut Child, assignment: &Assignment) -> io::Result<Option<Report>> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(&serde_json::to_vec(assignment)?) {
            // It ended before it read everything: its status says more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            other => other?,
        }
    }
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
pub fn supervise_with(running: impl FnOnce(&Arc<Vm>)) -> ExitCode {
    // Fails only for a process group leader, which has no terminal to lose then.
    let _ = rustix::process::setsid();
    let started = read_assignment().and_then(|assignment| begin(&assignment));
    let reported = report(&match &started {
        Ok(vm) => Report::Started {
            id: vm.id().to_owned(),
        },
        Err(error) => Report::Failed {
            message: describe(error),
            exit_code: error.exit_code(),
            hint: error.hint(),
        },
    });
    let Ok(vm) = started else {
        return ExitCode::FAILURE;
    };
    if reported.is_err() {
        // Whoever asked is gone before the answer; the VM has a name and can be found.
        tracing::info!(vm = vm.name(), "nobody waits for the report");
    }
    let vm = Arc::new(vm);
    running(&vm);
    vm.wait_gone();
    ExitCode::SUCCESS
}

fn read_assignment() -> Result<Assignment, Error> {
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    read.and_then(|_| Ok(serde_json::from_slice(&text)?))
        .map_err(|source| Error::Launch {
            program: PathBuf::from("-"),
            source,
        })
}

fn begin(assignment: &Assignment) -> Result<Vm, Error> {
    let mut builder = Runtime::builder().home(&assignment.home);
    if let Some(dir) = &assignment.libexec {
        builder = builder.libexec(dir);
    }
    let runtime = builder.build()?;
    let id: ImageRef = assignment.digest.parse()?;
    let stored = runtime.store()?.get(&id)?;
    let stored = stored.ok_or_else(|| Error::ImageGone(assignment.reference.clone()))?;
    runtime
        .image(stored, &assignment.reference)
        .start(&assignment.config)
}

/// Writes the report and closes standard output, which is what the other side waits for.
fn report(report: &Report) -> io::Result<()> {
    let text = serde_json::to_vec(report)?;
    let mut stdout = io::stdout();
    stdout.write_all(&text).and_then(|()| stdout.flush())?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
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
            reference: "busybox".into(),
            digest: "sha256:00".into(),
            config: VmConfig::new(),
        }
    }

    #[test]
    fn the_report_of_a_failed_start_keeps_message_code_and_hint() {
        let script =
            r#"cat >/dev/null; echo '{"Failed":{"message":"no","exit_code":127,"hint":"look"}}'"#;
        let report = launch(&launcher(script), &assignment()).unwrap();
        assert!(
            matches!(report, Report::Failed { message, exit_code: 127, hint: Some(_) } if message == "no")
        );
    }

    #[test]
    fn a_supervisor_that_dies_or_talks_nonsense_is_an_error_with_its_status() {
        let error = launch(&launcher("exit 3"), &assignment()).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(launch(&launcher("cat >/dev/null; echo hello"), &assignment()).is_err());
        assert!(
            launch(
                &Launcher {
                    program: "/nonexistent".into(),
                    args: vec![]
                },
                &assignment()
            )
            .is_err()
        );
    }
}
