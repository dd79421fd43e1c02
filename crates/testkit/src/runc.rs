//! An image in a container of Debian's runc, configured as Docker configures it.

use crate::cli::Cli;
use crate::{target, umoci_unpack};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The capabilities Docker gives.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A container that does not exist before it runs, and no longer than that.
pub struct Runc {
    dir: PathBuf,
    name: String,
}

impl Runc {
    /// Unpacks a test image into a directory that does not exist yet.
    pub fn unpack(image: &str, dir: &Path) -> Self {
        umoci_unpack(&target::image(image), dir);
        let unique = dir.parent().and_then(Path::file_name);
        let runc = Self {
            dir: dir.to_path_buf(),
            name: unique
                .expect("a test's directory has a name")
                .to_string_lossy()
                .into_owned(),
        };
        let mut config = runc.config();
        runc.as_docker_does(&mut config);
        runc.write(&config);
        runc
    }

    /// Changes what is run and how.
    pub fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut config = self.config();
        edit(&mut config["process"]);
        self.write(&config);
    }

    /// The command that runs it.
    pub fn run(&self) -> Cli {
        self.runc(&["run", "--bundle", &self.dir.to_string_lossy(), &self.name])
    }

    /// The command that sends it a signal.
    pub fn kill(&self, signal: &str) -> Cli {
        self.runc(&["kill", &self.name, signal])
    }

    fn runc(&self, words: &[&str]) -> Cli {
        let mut command = Command::new("runc");
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(words);
        Cli { command }
    }

    fn config(&self) -> Value {
        let text = fs::read(self.dir.join("config.json")).expect("umoci writes a configuration");
        serde_json::from_slice(&text).expect("a configuration is JSON")
    }

    fn write(&self, config: &Value) {
        fs::write(self.dir.join("config.json"), config.to_string()).expect("our own directory");
    }

    /// umoci knows user, environment, directory and command of the image; the rest is Docker's to say.
    fn as_docker_does(&self, config: &mut Value) {
        let process = &mut config["process"];
        process["terminal"] = json!(false);
        process["noNewPrivileges"] = json!(false);
        process["capabilities"] = json!({
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        });
        process["rlimits"] = limits();
        process["oomScoreAdj"] = json!(0);
        let environment = process["env"].as_array_mut().expect("a list");
        // Two that umoci adds; runc finds the home directory by itself.
        environment.retain(|variable| {
            let variable = variable.as_str().expect("a string");
            variable != "TERM=xterm" && !variable.starts_with("HOME=")
        });
        environment.push(json!("HOSTNAME=0123456789ab"));
        config["hostname"] = json!("0123456789ab");
        config["mounts"] = self.mounts();
        config["linux"] = linux();
    }

    fn mounts(&self) -> Value {
        let mut mounts = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            mount(
                "/dev/pts",
                "devpts",
                &[
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620",
                    "gid=5",
                ],
            ),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount(
                "/sys/fs/cgroup",
                "cgroup",
                &["ro", "nosuid", "noexec", "nodev"],
            ),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ),
        ];
        for name in ["resolv.conf", "hostname", "hosts"] {
            let source = self.dir.join(name);
            fs::write(&source, "").expect("our own directory");
            mounts.push(json!({
                "destination": format!("/etc/{name}"), "type": "bind", "source": source,
                "options": ["rbind", "rprivate"],
            }));
        }
        mounts.into()
    }
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": kind, "options": options})
}

/// Docker sets no limits of its own: what a container has then is what its host's service manager gave the daemon. So
/// both sides are asked for the same ones.
pub const LIMITS: &[(&str, u64, u64)] = &[
    ("core", 0, 0),
    ("cpu", 1000, 2000),
    ("data", 1 << 30, 1 << 31),
    ("fsize", 1 << 30, 1 << 31),
    ("locks", 100, 200),
    ("memlock", 32 << 10, 64 << 10),
    ("msgqueue", 100_000, 200_000),
    ("nice", 0, 0),
    ("nofile", 500, 1000),
    ("nproc", 300, 400),
    ("rss", 1 << 30, 1 << 31),
    ("rtprio", 0, 0),
    ("rttime", 1_000_000, 2_000_000),
    ("sigpending", 50, 100),
    ("stack", 4 << 20, 8 << 20),
];

fn limits() -> Value {
    LIMITS
        .iter()
        .map(|(name, soft, hard)| {
            let kind = format!("RLIMIT_{}", name.to_uppercase());
            json!({"type": kind, "soft": soft, "hard": hard})
        })
        .collect()
}

fn linux() -> Value {
    let namespaces = ["mount", "network", "uts", "pid", "ipc", "cgroup"];
    json!({
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
        "namespaces": namespaces.map(|kind| json!({"type": kind})),
        // That there is a filter at all, not Docker's long list of what it refuses.
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
            {"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"},
        ]},
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
            "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    })
}
