//! The program as it is run: what goes to which stream, and which code comes back. Nothing here needs a VM.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A state directory that is removed with the value.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supermachine"));
        command
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .env("SUPERMACHINE_HOME", self.0.path().join("home"))
            .env("SUPERMACHINE_LIBEXEC", self.0.path())
            .env("HOME", self.0.path())
            .env_remove("SUPERMACHINE_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    #[track_caller]
    fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert!(
            output.stdout.is_empty(),
            "{line}: data of a command that failed"
        );
        assert!(stderr.starts_with("supermachine: "), "{line}: {stderr}");
        stderr
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{line}"
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_wrong_command_line_is_125_and_one_line_with_a_hint() {
    let home = Home::new();
    for line in [
        "frobnicate",
        "--no-such-flag",
        "run",
        "run --no-such-flag alpine",
        "run --memory 0 alpine",
        "run --memory -5M alpine",
        "run --disk-size lots alpine",
        "run --timeout 0s alpine",
        "run --cpus 0 alpine",
        "run --network a1 --network b1 alpine",
        "run --network-alias db alpine",
        "run -it alpine",
        "run -P alpine",
        "run UPPERCASE",
        "exec",
        "exec web",
        "kill -s NOSUCH web",
        "stop -t never web",
        "build web",
        "snapshot",
        "snapshot export web",
        "snapshot create",
        "fork -n 0 web",
        "run --snapshot s --memory 1G",
    ] {
        let told = home.fails(line, 125);
        assert!(told.lines().count() <= 2, "{line}: {told}");
        assert!(
            told.lines().skip(1).all(|line| line.starts_with("hint: ")),
            "{line}: {told}"
        );
    }
    assert!(
        !home.0.path().join("home").exists(),
        "a command line that is refused touches nothing"
    );
}

#[test]
fn help_and_version_are_data_and_exit_0() {
    let home = Home::new();
    for line in [
        "",
        "--help",
        "-h",
        "help",
        "help run",
        "run --help",
        "ps -h",
        "--version",
        "version",
    ] {
        assert!(!home.succeeds(line).is_empty(), "{line}");
    }
    assert!(!home.0.path().join("home").exists(), "help touches nothing");
}

#[test]
fn an_empty_store_lists_nothing() {
    let home = Home::new();
    assert_eq!(home.succeeds("ps -q"), "");
    assert_eq!(home.succeeds("ps -a --json"), "[]\n");
    assert_eq!(home.succeeds("images -q"), "");
    assert_eq!(home.succeeds("images --json"), "[]\n");
    assert_eq!(home.succeeds("ps").lines().count(), 1);
    assert_eq!(home.succeeds("images").lines().count(), 1);
    assert_eq!(home.succeeds("prune"), "Reclaimed: 0B\n");
    assert!(home.succeeds("df").starts_with("TYPE "));
}

#[test]
fn what_is_not_there_is_named_and_125() {
    let home = Home::new();
    for line in [
        "stop web",
        "kill web",
        "wait web",
        "rm web",
        "rm -f web",
        "logs web",
        "logs -f web",
        "exec web true",
    ] {
        let told = home.fails(line, 125);
        assert!(told.contains("web"), "{line}: {told}");
    }
    assert!(
        home.fails("rmi no/such:image", 125)
            .contains("no/such:image")
    );
    assert!(
        home.fails("run --pull never no/such:image", 125)
            .contains("no/such:image")
    );
    assert!(
        home.fails("pull oci:/no/such/layout", 125)
            .contains("/no/such/layout")
    );
    assert!(
        home.fails("run oci:/no/such/layout true", 125)
            .contains("/no/such/layout")
    );
}

#[test]
fn of_several_names_each_failure_is_told() {
    let home = Home::new();
    let told = home.fails("rm one two", 125);
    assert!(told.contains("one") && told.contains("two"), "{told}");
}

#[test]
fn a_reader_that_went_away_is_no_failure_to_talk_about() {
    let home = Home::new();
    for line in ["help run", "ps", "version --json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = home
            .command(line)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
        assert_eq!(output.status.code(), Some(141), "{line}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let home = Home::new();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = home
        .command("version")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        told,
        "supermachine: cannot write to standard output: No space left on device (os error 28)\n"
    );
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn doctor_without_a_vmm_exits_1_and_says_what_to_do() {
    let home = Home::new();
    let output = home.run("doctor");
    assert_eq!(output.status.code(), Some(1));
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(
        screen
            .lines()
            .any(|line| line.starts_with("fail") && line.contains("VMM")),
        "{screen}"
    );
    assert!(screen.contains("-> "), "{screen}");
    let output = home.run("doctor --json");
    assert_eq!(output.status.code(), Some(1));
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        checks
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["verdict"] == "fail")
    );
}

#[test]
fn setup_without_a_vmm_names_what_is_missing() {
    let told = Home::new().fails("setup", 125);
    assert!(told.contains("supermachine-vmm"), "{told}");
}

#[test]
fn a_home_that_is_no_directory_is_named() {
    let home = Home::new();
    let file = home.0.path().join("home");
    std::fs::write(&file, "").unwrap();
    assert!(home.fails("ps", 125).contains(path(&file)));
}

#[test]
fn a_relative_home_is_refused() {
    let home = Home::new();
    let output = home
        .command("ps")
        .env("SUPERMACHINE_HOME", "relative")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn debug_tells_more_on_standard_error_only() {
    let home = Home::new();
    let output = home
        .command("ps -q")
        .env("SUPERMACHINE_LOG", "nonsense=nonsense=")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let output = home.run("--debug ps -q");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b""[..])
    );
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn networks_are_made_listed_and_removed_and_a_vm_is_on_none_that_is_not_there() {
    let home = Home::new();
    assert_eq!(home.succeeds("network create inner"), "inner\n");
    assert_eq!(home.succeeds("network create outer"), "outer\n");
    assert!(
        home.fails("network create inner", 125)
            .contains("is there already")
    );
    assert!(
        home.fails("network create none", 125)
            .contains("not a name for a network")
    );
    assert_eq!(home.succeeds("network ls -q"), "inner\nouter\n");
    let about = home.succeeds("network inspect outer");
    assert!(about.contains(r#""subnet": "198.18.2.0/24""#), "{about}");
    let missing = home.fails("run --network absent alpine", 125);
    assert!(
        missing.ends_with("hint: `supermachine network create absent` makes it, `network ls` lists those there are\n"),
        "{missing}"
    );
    assert_eq!(home.succeeds("network rm inner"), "inner\n");
    assert_eq!(home.succeeds("network prune"), "outer\n");
    home.fails("network inspect outer", 125);
    assert_eq!(
        home.succeeds("network ls"),
        "NAME   SUBNET   CREATED   VMS\n"
    );
}
