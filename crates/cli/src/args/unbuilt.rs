//! Words that belong to the design and do not work yet. They are refused by name: a flag that is ignored,
//! or a word that nobody seems to know, misleads.

/// Commands to come.
const COMMANDS: &[&str] = &[
    "build",
    "completion",
    "export",
    "import",
    "load",
    "login",
    "logout",
    "port",
    "push",
    "save",
    "stats",
    "tag",
    "top",
    "update",
];

/// Commands to come, by what they are called when they are asked for.
pub fn is_command(word: &str) -> bool {
    COMMANDS.contains(&word)
}

/// Flags to come, by command.
pub fn is_flag(command: &str, flag: &str) -> bool {
    let flags: &[&str] = match command {
        "run" => &["-p", "--publish", "-P", "--publish-all", "--egress"],
        "exec" => &["--env-file", "--privileged"],
        "logs" => &["-t", "--timestamps", "-n", "--tail", "--since", "--until"],
        "ps" => &["-s", "--size"],
        "start" => &["-a", "--attach", "-i", "--interactive"],
        "inspect" => &["-s", "--size", "--type"],
        "images" => &["--filter", "--format"],
        "prune" => &["-a", "--all"],
        "rmi" => &["-f", "--force"],
        _ => &[],
    };
    flags.contains(&flag)
}
