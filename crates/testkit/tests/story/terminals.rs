//! Terminals (guest.md 16): what a person in front of one sees and does, through a pseudo-terminal and a screen.

use rustix::process::{Signal, kill_process};
use testkit::{Home, Processes, Terminal};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";
const DETACH: &str = "\x10\x11";

/// A shell in a VM of this name, in front of a terminal of 24 lines and 80 columns.
fn shell(home: &Home, name: &str) -> Terminal {
    let image = home.image("busybox");
    let terminal = home
        .cli(["run", "-it", "--rm", "--name", name, &image, "sh"])
        .at_terminal(24, 80);
    terminal.shows("# ");
    terminal
}

#[test]
fn guest_16_a_shell_has_its_terminal_with_size_type_and_job_control() {
    let home = Home::new();
    let mut terminal = shell(&home, "job");
    terminal.types("tty; stty size; echo $TERM $((40 + 2))\r");
    terminal.shows("/dev/pts/0\n24 80\nxterm 42\n");
    terminal.clear();
    terminal.types("echo ready; cat\r");
    terminal.shows("\nready");
    terminal.types("line\r");
    terminal.shows("line\nline");
    // A shell drops what was typed before its prompt.
    terminal.types(CTRL_C);
    terminal.shows("^C\n/ #");
    terminal.types("echo code $?\r");
    terminal.shows("code 130");
    terminal.clear();
    terminal.types("echo ready; cat\r");
    terminal.shows("\nready");
    terminal.types("line\r");
    terminal.shows("line\nline");
    terminal.types(CTRL_BACKSLASH);
    terminal.shows("^\\Quit\n/ #");
    terminal.types("echo code $?\r");
    terminal.shows("code 131");
    terminal.clear();
    terminal.types("echo ready; cat\r");
    terminal.shows("\nready");
    terminal.types("line\r");
    terminal.shows("line\nline");
    terminal.types(CTRL_Z);
    terminal.shows_what("Stopped and a prompt", |screen| {
        let text = screen.contents();
        text.contains("Stopped") && text.trim_end().ends_with("/ #")
    });
    terminal.types("fg\r");
    terminal.shows("fg\ncat");
    terminal.types("again\r");
    terminal.shows("again\nagain");
    terminal.clear();
    terminal.types(CTRL_D);
    terminal.shows("/ #");
    terminal.types("exit 7\r");
    assert_eq!(terminal.wait(), 7);
    assert_eq!(terminal.modes(), terminal.modes_at_start());
    home.assert_nothing_left();
}

#[test]
fn guest_16_vi_and_top_draw_their_screens() {
    let home = Home::new();
    let mut terminal = shell(&home, "job");
    terminal.types("vi /tmp/note\r");
    terminal.shows_what("24 lines of vi", |screen| {
        screen.rows(0, 80).nth(22).is_some_and(|row| row == "~")
    });
    terminal.types("ihello, vi");
    terminal.shows("I /tmp/note");
    // vi waits whether this is the beginning of another key.
    terminal.types("\x1b");
    terminal.shows("- /tmp/note");
    terminal.types(":wq\r");
    terminal.shows("# ");
    terminal.clear();
    terminal.types("cat /tmp/note\r");
    terminal.shows("hello, vi\n");
    terminal.types("top\r");
    terminal.shows("Load average");
    terminal.types("q");
    terminal.clear();
    terminal.types("exit\r");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn guest_16_python_is_usable_and_hears_of_another_size() {
    let home = Home::new();
    let image = home.image("python3");
    let mut terminal = home.cli(["run", "-it", "--rm", &image]).at_terminal(24, 80);
    terminal.shows(">>> ");
    terminal.types("import os, signal, sys\r");
    terminal.types("6*7, sys.stdin.isatty(), tuple(os.get_terminal_size())\r");
    terminal.shows("(42, True, (80, 24))");
    terminal.types("_ = signal.pthread_sigmask(0, [28]); print('wait' + 'ing'); signal.sigwait([28]); os.get_terminal_size()\r");
    terminal.shows("\nwaiting");
    terminal.resize(30, 120);
    // Before its prompt Python reads whole lines, and what ends one there is nothing to its editor.
    terminal.shows("columns=120, lines=30)\n>>>");
    terminal.types(CTRL_D);
    assert_eq!(terminal.wait(), 0);
    assert_eq!(terminal.modes(), terminal.modes_at_start());
}

#[test]
fn guest_16_exec_has_a_terminal_of_its_own_that_belongs_to_the_user() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "job", &image, "sleep", "1000"])
        .ok();
    let mut terminal = home
        .cli(["exec", "-it", "-u", "nobody", "job", "sh"])
        .at_terminal(11, 44);
    terminal.types("id -u; stty size; stat -c '%u %g %a' $(tty); : >/dev/tty && echo mine\r");
    terminal.shows("65534\n11 44\n65534 5 620\nmine\n");
    terminal.types("exit 5\r");
    assert_eq!(terminal.wait(), 5);
    assert_eq!(terminal.modes(), terminal.modes_at_start());

    let plain = home.run([
        "exec",
        "job",
        "sh",
        "-c",
        "tty; [ -t 1 ] || echo pipe; echo $TERM.",
    ]);
    assert_eq!((plain.text(), plain.code), ("not a tty\npipe\n.\n", 0));
    let one = home.run(["exec", "-t", "job", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(one.ok(), "out\r\nerr\r\n");
    assert_eq!(one.stderr, "");
    let refused = home.run(["exec", "-it", "job", "sh"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("the input device is not a TTY"));
    home.run(["rm", "-f", "job"]).ok();
    home.assert_nothing_left();
}

#[test]
fn guest_16_a_terminal_that_disappears_hangs_up_what_was_started_in_it() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run([
        "run",
        "-d",
        "--name",
        "job",
        &image,
        "sh",
        "-c",
        "mkfifo /f; exec sleep 1000",
    ])
    .ok();
    let script = "trap 'echo hung up >/f; exit' HUP; echo ready; while true; do read x; done";
    let terminal = home
        .cli(["exec", "-it", "job", "sh", "-c", script])
        .at_terminal(24, 80);
    terminal.shows("ready");
    assert_eq!(terminal.hang_up(), 129);
    assert_eq!(home.run(["exec", "job", "cat", "/f"]).ok(), "hung up\n");
    home.run(["rm", "-f", "job"]).ok();
}

#[test]
fn a_terminal_is_left_and_found_again_by_several() {
    let home = Home::new();
    let mut first = shell(&home, "job");
    first.types("export KEPT=yes\r");
    first.types(DETACH);
    assert_eq!(first.wait(), 0);
    first.shows("left job, which goes on");
    assert_eq!(first.modes(), first.modes_at_start());

    let mut second = home.cli(["attach", "job"]).at_terminal(24, 80);
    let mut third = home
        .cli(["attach", "--detach-keys", "ctrl-a,x", "job"])
        .at_terminal(24, 80);
    second.shows("# ");
    third.shows("# ");
    second.types("echo kept: $KEPT\r");
    second.shows("kept: yes");
    third.shows("kept: yes");
    third.types("\x01x");
    assert_eq!(third.wait(), 0);
    second.types("exit 3\r");
    assert_eq!(second.wait(), 3);
    home.assert_nothing_left();
}

#[test]
fn what_ends_the_command_line_leaves_the_vm_and_puts_the_terminal_back() {
    let home = Home::new();
    let mut terminal = shell(&home, "job");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.wait(), 143);
    assert_eq!(terminal.modes(), terminal.modes_at_start());
    assert_eq!(home.run(["ps", "-q"]).ok(), "job\n");

    let closed = home.cli(["attach", "job"]).at_terminal(24, 80);
    closed.shows("# ");
    assert_eq!(closed.hang_up(), 129);
    assert_eq!(home.run(["ps", "-q"]).ok(), "job\n");

    let mut last = home.cli(["attach", "job"]).at_terminal(24, 80);
    last.shows("# ");
    for vmm in Processes::of_this_test().vmms() {
        kill_process(vmm, Signal::KILL).unwrap();
    }
    assert_eq!(last.wait(), 125);
    last.shows("supermachine-vmm");
    assert_eq!(last.modes(), last.modes_at_start());
    home.assert_nothing_left();
}

#[test]
fn a_workload_that_cannot_be_started_at_a_terminal_is_the_usual_error() {
    let home = Home::new();
    let image = home.image("busybox");
    let mut terminal = home
        .cli(["run", "-it", "--rm", &image, "/no/such"])
        .at_terminal(24, 80);
    assert_eq!(terminal.wait(), 127);
    terminal.shows("/no/such");
    assert_eq!(terminal.modes(), terminal.modes_at_start());
    home.assert_nothing_left();
}

#[test]
fn a_burst_at_a_terminal_arrives_whole_through_the_supervisor() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "stty -opost; seq 60000";
    let out = home.run(["run", "--rm", "-t", &image, "sh", "-c", script]);
    let wanted: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    assert!(
        out.ok() == wanted,
        "{} of {}",
        out.stdout.len(),
        wanted.len()
    );
    home.assert_nothing_left();
}

#[test]
fn attach_to_a_workload_without_a_terminal_passes_input_and_signals() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "-i", "--rm", "--name", "job", &image, "cat"])
        .ok();
    let once = home
        .cli(["attach", "--no-stdin", "--sig-proxy=false", "job"])
        .start();
    let mut running = home.cli(["attach", "job"]).start();
    use std::io::Write;
    let mut stdin = running.take_stdin();
    stdin.write_all(b"hello\n").unwrap();
    assert_eq!(running.line(), "hello");
    once.signal(Signal::INT);
    assert_eq!(once.wait().code, 130);
    // The end of one client's input is not the workload's.
    drop(stdin);
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code, 143);
    home.assert_nothing_left();
}

#[test]
fn a_detached_exec_goes_on_by_itself() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "job", &image, "sleep", "1000"])
        .ok();
    // One for each direction: who writes to a pipe and reads it may read its own words.
    home.run(["exec", "job", "mkfifo", "/f", "/g"]).ok();
    let out = home.run(["exec", "-d", "job", "sh", "-c", "echo from behind >/f"]);
    assert_eq!((out.ok(), out.stderr.as_str()), ("", ""));
    assert_eq!(home.run(["exec", "job", "cat", "/f"]).ok(), "from behind\n");
    assert_eq!(home.run(["exec", "-d", "job", "/no/such"]).code, 127);

    let mut terminal = home.cli(["exec", "-it", "job", "sh"]).at_terminal(24, 80);
    terminal.shows("# ");
    terminal.types("read line </f; echo got $line >/g\r");
    terminal.types(DETACH);
    assert_eq!(terminal.wait(), 0);
    let script = "echo it >/f; cat /g";
    assert_eq!(
        home.run(["exec", "job", "sh", "-c", script]).ok(),
        "got it\n"
    );
    home.run(["rm", "-f", "job"]).ok();
}
