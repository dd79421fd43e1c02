//! A state directory of a test's own, and the ways to run `supermachine` on it.

use crate::cli::{Cli, Output};
use crate::processes::Processes;
use crate::{host, target};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long teardown may take after a command has ended, on a loaded machine.
const TEARDOWN: Duration = Duration::from_secs(20);

/// A `$SUPERMACHINE_HOME`, a runtime directory and a person; removed with the value.
pub struct Home {
    temp: TempDir,
    state: PathBuf,
    person: Person,
    /// The state directory's own file system, mounted as long as the home lives.
    disk: Option<PathBuf>,
    /// Network namespace of its commands, if it is another one than the tests'.
    namespace: Option<String>,
}

/// Who runs the commands of a home, and in front of which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Whoever runs the tests, on the machine as it is.
    Tester,
    /// Somebody without any privilege, in a mount namespace where /dev/kvm is as said.
    Unprivileged(Kvm),
}

/// What an unprivileged person finds at /dev/kvm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kvm {
    /// A device of the group the person is in.
    Permitted,
    /// A device of a group the person is not in.
    Forbidden,
    /// Nothing.
    Absent,
}

impl Home {
    /// A home for VMs, run by whoever runs the tests.
    pub fn new() -> Self {
        Self::of(Person::Tester)
    }

    /// A home whose path is 200 bytes long: more than a socket's address holds.
    pub fn with_long_path() -> Self {
        let mut home = Self::new();
        let parent = home.temp.path().as_os_str().len() + 1;
        home.state = home.temp.path().join("h".repeat(200 - parent));
        home
    }

    /// A home on a disk of so many bytes.
    pub fn with_disk_of(bytes: u64) -> Self {
        host::require_root();
        let mut home = Self::new();
        fs::create_dir(&home.state).expect("make the state directory");
        mount(
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes},mode=0700"),
                "tmpfs",
            ],
            &home.state,
        );
        home.disk = Some(home.state.clone());
        home
    }

    /// A home of this person.
    pub fn of(person: Person) -> Self {
        host::require_kvm();
        Processes::adopt_orphans();
        let temp = tempfile::Builder::new()
            .prefix("sm-")
            .tempdir()
            .expect("make a temporary directory");
        for directory in ["user", "bin", "images"] {
            fs::create_dir(temp.path().join(directory)).expect("fill a temporary directory");
        }
        if person != Person::Tester {
            host::require_root();
            give_away(temp.path());
        }
        Self {
            state: temp.path().join("home"),
            temp,
            person,
            disk: None,
            namespace: None,
        }
    }

    /// The same home in a network namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// `$SUPERMACHINE_HOME`.
    pub fn path(&self) -> &Path {
        &self.state
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.temp.path()
    }

    /// The reference of a test image, as this home's person reads it.
    pub fn image(&self, name: &str) -> String {
        match self.person {
            Person::Tester => format!("oci:{}", target::image(name).display()),
            Person::Unprivileged(_) => format!(
                "oci:{}",
                self.temp.path().join("images").join(name).display()
            ),
        }
    }

    /// Runs `supermachine` with these words to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.cli(words).output()
    }

    /// `supermachine` with these words, about to run.
    pub fn cli<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Cli {
        let mut command = match self.person {
            Person::Tester => {
                // A shell that runs the tests in the background has them ignore interrupts, and so would we.
                let mut command = match &self.namespace {
                    None => Command::new("env"),
                    Some(namespace) => {
                        // `ip netns exec` would bring a mount namespace too, another one for every command.
                        let mut command = Command::new("nsenter");
                        command
                            .arg(format!("--net=/run/netns/{namespace}"))
                            .arg("env");
                        command
                    }
                };
                command
                    .arg("--default-signal=INT,QUIT")
                    .arg(target::program("supermachine"));
                command
            }
            Person::Unprivileged(kvm) => self.stage(kvm),
        };
        command.args(words).env("SUPERMACHINE_HOME", &self.state);
        // Docker's credentials of whoever runs the tests are none of our business.
        command.env("HOME", self.temp.path().join("user"));
        for variable in [
            "SUPERMACHINE_LIBEXEC",
            "DOCKER_CONFIG",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
        ] {
            command.env_remove(variable);
        }
        Cli { command }
    }

    /// Waits for teardown, then panics if a process of ours still runs.
    #[track_caller]
    pub fn assert_nothing_runs(&self) {
        let left = Processes::of_this_test().outlasting(TEARDOWN);
        assert!(left.is_empty(), "still running: {left:?}");
    }

    /// Waits for teardown, then panics if a process of ours still runs or a socket is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.assert_nothing_runs();
        let is_socket = |path: &PathBuf| {
            fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        };
        let files = crate::files::list(self.temp.path());
        let sockets: Vec<_> = files.into_iter().filter(is_socket).collect();
        assert!(sockets.is_empty(), "left: {sockets:?}");
    }

    /// Sets the scene in a mount namespace, drops every privilege and becomes the program. The programs and
    /// images are mounted where the person can reach them, whatever the mode of the directories above.
    fn stage(&self, kvm: Kvm) -> Command {
        const SCENE: &str = r#"
            set -eu
            temp=$1 programs=$2 images=$3 kvm=$4; shift 4
            mount --bind "$programs" "$temp/bin"
            for image in "$images"/*; do
                name=${image##*/}; mkdir -p "$temp/images/$name"; mount --bind "$(readlink -f "$image")" "$temp/images/$name"
            done
            node() { mknod "$temp/kvm" c "$(stat -c 0x%t /dev/kvm)" "$(stat -c 0x%T /dev/kvm)"; chown "0:$1" "$temp/kvm"
                     chmod 660 "$temp/kvm"; mount --bind "$temp/kvm" /dev/kvm; rm "$temp/kvm"; }
            case $kvm in
                Permitted) node 54322 ;;
                Forbidden) node 54323 ;;
                Absent) mkdir "$temp/dev"; for name in null zero urandom random tty; do touch "$temp/dev/$name"
                        mount --bind "/dev/$name" "$temp/dev/$name"; done; mount --rbind "$temp/dev" /dev ;;
            esac
            exec setpriv --reuid 54321 --regid 54321 --groups 54322 --bounding-set=-all --inh-caps=-all --no-new-privs \
                "$temp/bin/supermachine" "$@"
        "#;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCENE,
            "scene",
        ]);
        let images = target::programs().with_file_name("test-images");
        command
            .arg(self.temp.path())
            .arg(target::programs())
            .arg(images)
            .arg(format!("{kvm:?}"));
        command
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            // Lazily: a VM that a failed test left running may still hold files of it.
            let status = Command::new("umount").arg("--lazy").arg(disk).status();
            if !status.is_ok_and(|status| status.success()) {
                eprintln!("umount {} failed", disk.display());
            }
        }
    }
}

fn mount(words: &[&str], on: &Path) {
    let status = Command::new("mount").args(words).arg(on).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "mount {words:?} {} failed",
        on.display()
    );
}

/// Hands a directory and what is in it to the unprivileged person.
fn give_away(directory: &Path) {
    let status = Command::new("chown")
        .args(["--recursive", "54321:54321"])
        .arg(directory)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "chown {} failed",
        directory.display()
    );
}
