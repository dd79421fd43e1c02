//! A request for a process with everything looked up that can be before the process exists.

use super::diagnosis::{MAX_STRING, explain};
use super::path;
use super::users::{User, UserFiles};
use crate::failure::{Context, failure, shown};
use crate::init::Cgroup;
use crate::sys::spawn::{self, Child, Control, Identity, Program, SpawnError, Step};
use proto::session::{Failure, FailureKind, Process, ResourceLimit};
use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Standard input, output and error of a process to start.
pub type Stdio<'a> = [BorrowedFd<'a>; 3];

/// Ready to start.
#[derive(Debug)]
pub struct Plan {
    program: Vec<u8>,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    directory: CString,
    identity: Identity,
    soft_files: Option<u64>,
    control: Control,
    limits: Vec<ResourceLimit>,
}

impl Plan {
    /// Looks up user and program. `soft_files` is the soft limit of open files the process gets, if it is
    /// not the caller's own.
    pub fn new(
        process: Process,
        users: &mut UserFiles,
        soft_files: Option<u64>,
    ) -> Result<Self, Failure> {
        let mut user = users.resolve(&process.user)?;
        users.add_groups(&mut user, &process.groups)?;
        let mut env = process.env;
        let control = match process.tty {
            Some(_) => Control::Terminal,
            None => Control::None,
        };
        complete(&mut env, &user, control);
        let program = match process.argv.first() {
            Some(program) if !program.is_empty() => program.clone(),
            _ => return Err(failure(FailureKind::Request, "there is no program to run")),
        };
        let search = value(&env, b"PATH").unwrap_or(path::DEFAULT);
        let mut candidates = path::candidates(&program, search);
        path::skip_missing(&mut candidates);
        Ok(Self {
            program,
            candidates,
            argv: strings(process.argv, "argument")?,
            env: strings(env, "environment variable")?,
            directory: directory(process.cwd)?,
            identity: user.identity,
            soft_files,
            control,
            limits: process.limits,
        })
    }

    /// Starts it as a child, in a cgroup if one is given. A missing working directory is made.
    pub fn spawn(&self, stdio: Stdio<'_>, cgroup: Option<&Cgroup>) -> Result<Child, Failure> {
        let program = self.program(stdio);
        let mut result = spawn::spawn(&program, cgroup);
        if let (Some(cgroup), true) = (cgroup, is_refused_by_cgroup(&result)) {
            let fallback = cgroup
                .fallback()
                .failing(FailureKind::System, || "make a cgroup for an exec".into())?;
            result = spawn::spawn(&program, Some(&fallback));
        }
        if self.make_directory_after(result.as_ref().err())? {
            result = spawn::spawn(&program, cgroup);
        }
        result.map_err(|error| self.explain(&error))
    }

    /// Replaces this process by it. Comes back only with the reason why not.
    pub fn replace_self(&self, stdio: Stdio<'_>) -> Failure {
        // The directory cannot be made once the identity has changed, so it is made first.
        if let Err(failure) = self.make_directory() {
            return failure;
        }
        self.explain(&spawn::become_program(&self.program(stdio)))
    }

    fn program<'a>(&'a self, stdio: Stdio<'a>) -> Program<'a> {
        Program {
            candidates: &self.candidates,
            argv: &self.argv,
            env: &self.env,
            directory: (self.directory.as_bytes() != b"/").then_some(&self.directory),
            identity: &self.identity,
            soft_files: self.soft_files,
            limits: &self.limits,
            stdio,
            control: self.control,
        }
    }

    /// Whether the start failed for want of a working directory, which now exists.
    fn make_directory_after(&self, error: Option<&SpawnError>) -> Result<bool, Failure> {
        let missing = error.is_some_and(|error| {
            error.step == Step::Directory && error.source.raw_os_error() == Some(libc::ENOENT)
        });
        if missing {
            self.make_directory()?;
        }
        Ok(missing)
    }

    fn make_directory(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(Path::new(OsStr::from_bytes(self.directory.as_bytes()))).failing(
            FailureKind::Workdir,
            || {
                format!(
                    "make the working directory {}",
                    shown(self.directory.as_bytes())
                )
            },
        )
    }

    fn explain(&self, error: &SpawnError) -> Failure {
        explain(
            error,
            &self.program,
            &self.candidates,
            self.directory.as_bytes(),
        )
    }
}

/// The workload has delegated its cgroup's controllers further down.
fn is_refused_by_cgroup(result: &Result<Child, SpawnError>) -> bool {
    result.as_ref().is_err_and(|error| {
        error.step == Step::Clone && error.source.raw_os_error() == Some(libc::EBUSY)
    })
}

/// Adds what every program may expect and this environment lacks.
fn complete(env: &mut Vec<Vec<u8>>, user: &User, control: Control) {
    for (key, value_if_missing) in [
        (&b"PATH"[..], path::DEFAULT),
        (b"HOME", &user.home),
        (b"USER", &user.name),
    ] {
        if value(env, key).is_none() {
            env.push([key, b"=", value_if_missing].concat());
        }
    }
    // What a terminal of the host is called tells nothing about the programs of the image: Docker's choice.
    if control == Control::Terminal && value(env, b"TERM").is_none() {
        env.push(b"TERM=xterm".to_vec());
    }
}

fn value<'a>(env: &'a [Vec<u8>], key: &[u8]) -> Option<&'a [u8]> {
    env.iter()
        .find_map(|entry| entry.strip_prefix(key)?.strip_prefix(b"="))
}

fn strings(list: Vec<Vec<u8>>, what: &str) -> Result<Vec<CString>, Failure> {
    list.into_iter()
        .map(|string| {
            if string.len() >= MAX_STRING {
                let (start, length) = (shown(&string[..string.len().min(32)]), string.len());
                let context = format!(
                    "the {what} {start}... has {length} bytes; the kernel's limit for one is 131071 (128 KiB)"
                );
                return Err(Failure { kind: FailureKind::TooLong, context, errno: libc::E2BIG });
            }
            c_string(string, what)
        })
        .collect()
}

fn c_string(bytes: Vec<u8>, what: &str) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|error| {
        let text = shown(&error.into_vec());
        failure(
            FailureKind::Request,
            format!("the {what} {text} has a NUL byte in it"),
        )
    })
}

/// Relative ones count from the root, as there is nothing else they could count from.
fn directory(cwd: Vec<u8>) -> Result<CString, Failure> {
    let absolute = if cwd.starts_with(b"/") {
        cwd
    } else {
        [b"/", &cwd[..]].concat()
    };
    c_string(absolute, "working directory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fd, process};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};

    fn request(argv: &[&str]) -> Process {
        Process {
            argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: vec![b"PATH=/usr/bin:/bin".to_vec()],
            cwd: Vec::new(),
            user: Vec::new(),
            stdin: false,
            tty: None,
            timeout_ms: None,
            groups: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Starts it and reads what it writes until its end.
    fn run(process: Process) -> Result<(String, i32), Failure> {
        let plan = Plan::new(process, &mut UserFiles::default(), None)?;
        let null = File::open("/dev/null").unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        let child = plan.spawn([null.as_fd(), writer.as_fd(), writer.as_fd()], None)?;
        drop(writer);
        let mut output = String::new();
        File::from(reader).read_to_string(&mut output).unwrap();
        Ok((output, process::exit_code_of(child.pid)))
    }

    #[test]
    fn a_program_runs_with_its_arguments_and_status() {
        let (output, status) = run(request(&[
            "sh",
            "-c",
            "printf %s- \"$@\"; exit 7",
            "x",
            "a b",
            "",
            "\"\n",
        ]))
        .unwrap();
        assert_eq!((output.as_str(), status), ("a b--\"\n-", 7));
    }

    #[test]
    fn the_child_leads_its_own_session_and_inherits_no_descriptor_of_ours() {
        let ours = fd::open(c"/dev/null", libc::O_RDWR).unwrap();
        let script = format!(
            "read pid comm state ppid pgrp session rest < /proc/self/stat; \
             [ $pid = $session ] && [ ! -e /proc/self/fd/{} ] && echo good",
            ours.as_raw_fd()
        );
        assert_eq!(run(request(&["sh", "-c", &script])).unwrap().0, "good\n");
    }

    #[test]
    fn no_signal_is_blocked_in_the_child() {
        crate::sys::signal::block().unwrap();
        let (output, _) = run(request(&["grep", "^SigBlk", "/proc/self/status"])).unwrap();
        assert_eq!(output, "SigBlk:\t0000000000000000\n");
    }

    #[test]
    fn environment_is_completed_only_where_it_lacks_something() {
        let mut process = request(&["env"]);
        process.env = vec![b"HOME=/custom".to_vec(), b"ODD=a\nb \"c\"".to_vec()];
        let (output, _) = run(process).unwrap();
        let expected = format!(
            "HOME=/custom\nODD=a\nb \"c\"\nPATH={}\nUSER=root\n",
            shown(path::DEFAULT)
        );
        assert_eq!(output, expected);
    }

    #[test]
    fn missing_programs_and_files_that_are_none_have_their_own_kind() {
        assert_eq!(
            run(request(&["no-such-program"])).unwrap_err().kind,
            FailureKind::NotFound
        );
        assert_eq!(
            run(request(&["/no/such"])).unwrap_err().kind,
            FailureKind::NotFound
        );
        assert_eq!(
            run(request(&["/etc/passwd"])).unwrap_err().kind,
            FailureKind::NotExecutable
        );
        assert_eq!(
            run(request(&["/etc"])).unwrap_err().kind,
            FailureKind::NotExecutable
        );
        assert_eq!(run(request(&[])).unwrap_err().kind, FailureKind::Request);
    }

    #[test]
    fn a_missing_working_directory_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("a/b");
        let mut process = request(&["pwd"]);
        process.cwd = wanted.to_str().unwrap().as_bytes().to_vec();
        assert_eq!(run(process).unwrap().0.trim_end(), wanted.to_str().unwrap());
    }

    #[test]
    fn a_working_directory_that_is_a_file_is_a_failure_naming_it() {
        let mut process = request(&["pwd"]);
        process.cwd = b"/etc/passwd".to_vec();
        let failure = run(process).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Workdir);
        assert_eq!(failure.context, "enter the working directory /etc/passwd");
    }

    #[test]
    fn the_largest_string_passes_and_one_byte_more_is_refused_with_the_limit() {
        let mut process = request(&["sh", "-c", "echo ${#BIG}"]);
        process
            .env
            .push([b"BIG=", &vec![b'x'; MAX_STRING - 5][..]].concat());
        assert_eq!(
            run(process.clone()).unwrap().0,
            format!("{}\n", MAX_STRING - 5)
        );
        process.env.last_mut().unwrap().push(b'x');
        let failure = run(process).unwrap_err();
        assert_eq!(failure.kind, FailureKind::TooLong);
        assert!(failure.context.contains("128 KiB"), "{}", failure.context);
    }

    #[test]
    fn a_mebibyte_of_environment_arrives_whole() {
        let mut process = request(&["sh", "-c", "env | wc -c"]);
        process.env = (0..16)
            .map(|n| [format!("V{n:02}=").as_bytes(), &[b'v'; (64 << 10) - 5]].concat())
            .collect();
        let (output, _) = run(process).unwrap();
        assert!(output.trim().parse::<usize>().unwrap() > 1 << 20);
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let mut process = request(&["echo", "a\0b"]);
        assert_eq!(run(process.clone()).unwrap_err().kind, FailureKind::Request);
        process.argv.pop();
        process.env.push(b"A=\0".to_vec());
        assert_eq!(run(process).unwrap_err().kind, FailureKind::Request);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_the_childs_alone() {
        let plan = Plan::new(
            request(&["sh", "-c", "ulimit -Sn"]),
            &mut UserFiles::default(),
            Some(99),
        )
        .unwrap();
        let null = File::open("/dev/null").unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        plan.spawn([null.as_fd(), writer.as_fd(), writer.as_fd()], None)
            .unwrap();
        drop(writer);
        let mut output = String::new();
        File::from(reader).read_to_string(&mut output).unwrap();
        assert_eq!(output, "99\n");
    }
}
