//! What a process finds where it is started, one fact a line: `topic: value`. Two container runtimes are compared by it,
//! so facts of the machine below (sizes, counts, numbers of inodes) are left out.

mod mounts;
mod nodes;

use std::fs;
use std::io;
use std::path::Path;

/// A fact: what it is about, and what it is.
type Fact = (String, String);

/// Everything, sorted by topic.
pub fn all() -> io::Result<Vec<Vec<u8>>> {
    let mut facts = Vec::new();
    environment(&mut facts);
    status(&mut facts)?;
    limits(&mut facts)?;
    places(&mut facts)?;
    descriptors(&mut facts)?;
    terminal(&mut facts)?;
    mounts::observe(&mut facts)?;
    nodes::observe(&mut facts)?;
    facts.sort();
    let lines = facts
        .into_iter()
        .map(|(topic, value)| format!("{topic}: {value}").into_bytes());
    // Whoever reads a screen sees by it that the rest is there.
    Ok(lines.chain([b"that is all".to_vec()]).collect())
}

fn fact(facts: &mut Vec<Fact>, topic: impl Into<String>, value: impl Into<String>) {
    facts.push((topic.into(), value.into()));
}

fn environment(facts: &mut Vec<Fact>) {
    for (key, value) in std::env::vars_os() {
        let value = match key.to_str() {
            // Drawn by whoever runs it.
            Some("HOSTNAME") => shape(&value.to_string_lossy()),
            _ => value.to_string_lossy().into_owned(),
        };
        fact(facts, format!("env {}", key.to_string_lossy()), value);
    }
}

/// What a name looks like, for names that are new each time.
fn shape(name: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => format!("{} hexadecimal digits", name.len()),
        false => name.to_owned(),
    }
}

/// proc(5): who we are, what we may do, which signals do not reach us. Not the signals that are ignored: the standard
/// library has changed them by now.
fn status(facts: &mut Vec<Fact>) -> io::Result<()> {
    const FIELDS: &[&str] = &[
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "SigBlk",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "THP_enabled",
        "Threads",
    ];
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        if FIELDS.contains(&field) {
            let words: Vec<&str> = value.split_whitespace().collect();
            fact(facts, format!("status {field}"), words.join(" "));
        }
    }
    Ok(())
}

/// proc(5): `NAME  SOFT  HARD  UNITS`, in columns; names have spaces in them.
fn limits(facts: &mut Vec<Fact>) -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/limits")?.lines().skip(1) {
        let (name, values) = line.split_at_checked(26).unwrap_or((line, ""));
        let values: Vec<&str> = values.split_whitespace().take(2).collect();
        fact(facts, format!("limit {}", name.trim()), values.join(" "));
    }
    Ok(())
}

fn places(facts: &mut Vec<Fact>) -> io::Result<()> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim_end().to_owned());
    let stat = read("/proc/self/stat")?;
    // After the name: state, parent, process group, session, terminal.
    let numbers: Vec<&str> = stat
        .rsplit_once(") ")
        .map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let pid = std::process::id();
    fact(facts, "process is the first one", (pid == 1).to_string());
    fact(facts, "process parent", numbers[1]);
    fact(
        facts,
        "process leads its group and session",
        (numbers[2..4] == [pid.to_string(), pid.to_string()]).to_string(),
    );
    fact(
        facts,
        "process directory",
        std::env::current_dir()?.to_string_lossy(),
    );
    fact(
        facts,
        "process oom_score_adj",
        read("/proc/self/oom_score_adj")?,
    );
    fact(facts, "process nice", numbers[16]);
    fact(
        facts,
        "process user namespace",
        read("/proc/self/uid_map")?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    );
    fact(
        facts,
        "name of the host",
        shape(&read("/proc/sys/kernel/hostname")?),
    );
    fact(
        facts,
        "name of the domain",
        read("/proc/sys/kernel/domainname")?,
    );
    for name in ["ip_unprivileged_port_start", "ping_group_range"] {
        let value = read(&format!("/proc/sys/net/ipv4/{name}"))?;
        fact(facts, format!("parameter {name}"), value.replace('\t', " "));
    }
    for name in ["hosts", "hostname"] {
        let path = Path::new("/etc").join(name);
        fact(facts, format!("file /etc/{name}"), nodes::kind(&path)?);
    }
    Ok(())
}

/// Every open descriptor but the one of the directory that is read for it.
fn descriptors(facts: &mut Vec<Fact>) -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        if target.ends_with("/fd") {
            continue;
        }
        let kind = target
            .split_once(":[")
            .map_or(target.as_str(), |(kind, _)| kind);
        fact(
            facts,
            format!("descriptor {}", entry.file_name().to_string_lossy()),
            kind,
        );
    }
    Ok(())
}

fn terminal(facts: &mut Vec<Fact>) -> io::Result<()> {
    let controlling = match fs::File::open("/dev/tty") {
        Ok(_) => "yes".to_owned(),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            "no".to_owned()
        }
        Err(error) => return Err(error),
    };
    fact(facts, "terminal that controls us", controlling);
    if let Ok(modes) = rustix::termios::tcgetattr(io::stdin()) {
        let modes = format!(
            "{:?} {:?} {:?}",
            modes.input_modes, modes.output_modes, modes.local_modes
        );
        fact(facts, "terminal modes", modes.replace(" | ", " "));
    }
    Ok(())
}
