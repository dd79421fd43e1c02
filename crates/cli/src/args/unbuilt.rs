//! Words that belong to the design and do not work yet. They are refused by name: a flag that is ignored,
//! or a word that nobody seems to know, misleads.

/// Commands to come.
const COMMANDS: &[&str] = &[
    "build", "export", "import", "load", "login", "logout", "push", "save", "tag",
];

/// Commands to come, by what they are called when they are asked for.
pub fn is_command(word: &str) -> bool {
    COMMANDS.contains(&word)
}

/// Flags of `run` and `create` to come, and those that make no sense for a VM, with what to know about it.
const RUN: &[(&str, &str)] = &[
    ("-P", ""),
    ("--publish-all", ""),
    ("--annotation", ""),
    ("-a", ""),
    ("--attach", ""),
    ("--blkio-weight", ""),
    ("--blkio-weight-device", ""),
    (
        "--cap-drop",
        "a workload has every capability in its own VM; run it as another user with -u",
    ),
    (
        "--cgroup-parent",
        "a VM is a process of the host like any other; its workload has cgroups of its own inside",
    ),
    (
        "--cgroupns",
        "a workload always has a cgroup namespace of its own",
    ),
    ("--cpu-count", ""),
    ("--cpu-percent", ""),
    ("--cpu-period", "--cpus takes fractions"),
    ("--cpu-quota", "--cpus takes fractions"),
    ("--cpu-rt-period", ""),
    ("--cpu-rt-runtime", ""),
    ("-c", "a VM has a number of CPUs: --cpus"),
    ("--cpu-shares", "a VM has a number of CPUs: --cpus"),
    (
        "--cpuset-cpus",
        "taskset on the command does it for all threads of a VM",
    ),
    ("--cpuset-mems", ""),
    ("--device", "a VM has no devices of the host"),
    (
        "--device-cgroup-rule",
        "a workload may use every device of its own VM",
    ),
    ("--device-read-bps", ""),
    ("--device-read-iops", ""),
    ("--device-write-bps", ""),
    ("--device-write-iops", ""),
    ("--disable-content-trust", ""),
    ("--domainname", ""),
    ("--expose", ""),
    ("--gpus", "a VM has no devices of the host"),
    ("--io-maxbandwidth", ""),
    ("--io-maxiops", ""),
    ("--ip", ""),
    ("--ip6", ""),
    (
        "--ipc",
        "there is nothing of the host's, or of another VM's, to share",
    ),
    ("--isolation", ""),
    ("--kernel-memory", "the kernel of a VM is its own"),
    ("--link", ""),
    ("--link-local-ip", ""),
    (
        "--log-driver",
        "logs are kept with the VM; --log-opt says how much of them",
    ),
    ("--mac-address", ""),
    ("--memory-reservation", ""),
    ("--memory-swap", "a VM has no swap"),
    ("--memory-swappiness", "a VM has no swap"),
    (
        "--oom-kill-disable",
        "memory of a workload runs out inside its VM, where only its own processes can be killed",
    ),
    (
        "--oom-score-adj",
        "memory of a workload runs out inside its VM, where only its own processes can be killed",
    ),
    (
        "--pid",
        "there is nothing of the host's, or of another VM's, to share",
    ),
    ("-q", ""),
    ("--quiet", ""),
    ("--runtime", "there is one"),
    ("--sig-proxy", ""),
    ("--storage-opt", ""),
    ("--use-api-socket", ""),
    (
        "--userns",
        "there is nothing of the host's, or of another VM's, to share",
    ),
    (
        "--uts",
        "there is nothing of the host's, or of another VM's, to share",
    ),
    ("--volume-driver", ""),
    ("--volumes-from", "name the volume with -v"),
];

/// Flags to come, by command.
pub fn is_flag(command: &str, flag: &str) -> bool {
    if matches!(command, "run" | "create") {
        return RUN.iter().any(|(known, _)| *known == flag);
    }
    let flags: &[&str] = match command {
        "exec" => &["--privileged"],
        "logs" => &["--details"],
        "ps" => &["-s", "--size"],
        "stats" => &["-a", "--all", "--no-trunc"],
        "update" => &[
            "--blkio-weight",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "-c",
            "--cpu-shares",
            "--cpus",
            "--cpuset-cpus",
            "--cpuset-mems",
            "-m",
            "--memory",
            "--memory-reservation",
            "--memory-swap",
            "--pids-limit",
            "--restart",
        ],
        "start" => &["--checkpoint", "--checkpoint-dir"],
        "inspect" => &["-s", "--size", "--type"],
        "images" => &["--filter", "--format"],
        "prune" => &["-a", "--all"],
        "rmi" => &["-f", "--force"],
        _ => &[],
    };
    flags.contains(&flag)
}

/// What to know about a flag of `run` or `create` that is refused.
pub fn reason(command: &str, flag: &str) -> Option<&'static str> {
    let (_, reason) = RUN
        .iter()
        .find(|(known, _)| matches!(command, "run" | "create") && *known == flag)?;
    (!reason.is_empty()).then_some(reason)
}
