use super::*;
use crate::output::failure;

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("supermachine")
        .chain(line.split(' ').filter(|word| !word.is_empty()))
        .map(OsString::from)
        .collect()
}

/// On a terminal of any width.
fn parsed(line: &str) -> Result<Parsed, Refusal> {
    parse_by(Line::command().term_width(100), &words(line))
}

fn refused(line: &str) -> String {
    match parsed(line) {
        Err(refusal) => failure::render(&refusal.into()),
        Ok(parsed) => panic!("{line}: {parsed:?}"),
    }
}

fn help(line: &str) -> String {
    match parsed(line) {
        Ok(Parsed::Text(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_tree_of_commands_is_sound() {
    Line::command().debug_assert();
}

#[test]
fn unknown_words_are_refused_with_a_way_on() {
    insta::assert_snapshot!(refused("run --no-such-flag alpine"), @"
    supermachine: run: unknown flag: --no-such-flag
    hint: see supermachine run --help
    ");
    insta::assert_snapshot!(refused("run --memry 1g alpine"), @"
    supermachine: run: unknown flag: --memry
    hint: did you mean --memory?
    ");
    insta::assert_snapshot!(refused("run"), @"
    supermachine: run: missing IMAGE
    hint: see supermachine run --help
    ");
    insta::assert_snapshot!(refused("run --memory"), @"
    supermachine: run: --memory needs a value
    hint: see supermachine run --help
    ");
    insta::assert_snapshot!(refused("run --pull sometimes alpine"), @r#"
    supermachine: run: --pull: invalid value "sometimes": it takes missing, always, never
    hint: see supermachine run --help
    "#);
    insta::assert_snapshot!(refused("run --init=maybe alpine"), @r#"
    supermachine: run: --init: invalid value "maybe": it takes true, false
    hint: see supermachine run --help
    "#);
    insta::assert_snapshot!(refused("run --rm=false alpine"), @r#"
    supermachine: run: --rm: unexpected value "false"
    hint: see supermachine run --help
    "#);
    insta::assert_snapshot!(refused("exec"), @"
    supermachine: exec: missing NAME COMMAND
    hint: see supermachine exec --help
    ");
    insta::assert_snapshot!(refused("exec web"), @"
    supermachine: exec: missing NAME COMMAND
    hint: see supermachine exec --help
    ");
    insta::assert_snapshot!(refused("ps extra"), @"
    supermachine: ps: unexpected argument: extra
    hint: see supermachine ps --help
    ");
    insta::assert_snapshot!(refused("ps -q --json"), @"
    supermachine: ps: --quiet cannot be used with --json
    hint: see supermachine ps --help
    ");
    insta::assert_snapshot!(refused("wait"), @"
    supermachine: wait: missing NAME
    hint: see supermachine wait --help
    ");
    insta::assert_snapshot!(refused("frobnicate"), @"
    supermachine: unknown command: frobnicate
    hint: see supermachine --help
    ");
    insta::assert_snapshot!(refused("imags"), @"
    supermachine: unknown command: imags
    hint: did you mean images?
    ");
    insta::assert_snapshot!(refused("--debug"), @"
    supermachine: no command given
    hint: see supermachine --help
    ");
    insta::assert_snapshot!(refused("-x"), @"
    supermachine: unknown flag: -x
    hint: see supermachine --help
    ");
}

#[test]
fn words_to_come_are_refused_as_such() {
    insta::assert_snapshot!(refused("build web"), @"
    supermachine: build is not built yet
    hint: see supermachine --help
    ");
    insta::assert_snapshot!(refused("snapshot push web"), @"
    supermachine: snapshot: missing REFERENCE
    hint: see supermachine snapshot --help
    ");
    insta::assert_snapshot!(refused("snapshot"), @"
    supermachine: snapshot: no command given
    hint: see supermachine snapshot --help
    ");
    for line in ["load", "build"] {
        assert!(
            refused(line).starts_with(&format!("supermachine: {line} is not built yet\n")),
            "{line}"
        );
    }
    insta::assert_snapshot!(refused("run -iP alpine"), @"
    supermachine: run: -P is not built yet
    hint: see supermachine run --help
    ");
    for flag in ["-P", "--publish-all"] {
        for line in [
            format!("run {flag} alpine"),
            format!("run {flag}=x alpine"),
            format!("run --rm {flag} x alpine"),
        ] {
            assert!(
                refused(&line)
                    .starts_with(&format!("supermachine: run: {flag} is not built yet\n")),
                "{line}: {}",
                refused(&line)
            );
        }
    }
    insta::assert_snapshot!(refused("exec --privileged web sh"), @"
    supermachine: exec: --privileged is not built yet
    hint: see supermachine exec --help
    ");
}

#[test]
fn of_a_flag_given_twice_the_last_one_counts() {
    let Ok(Parsed::Line(Line {
        command: Command::Run(run),
        ..
    })) = parsed("run --rm --name a --rm --name b alpine")
    else {
        panic!("not a run");
    };
    assert_eq!((run.name.as_deref(), run.rm), (Some("b"), true));
}

#[test]
fn arguments_need_not_be_text_where_the_guest_takes_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let mut line = words("run -e");
    line.extend([
        OsString::from_vec(b"A=\xff".to_vec()),
        "alpine".into(),
        OsString::from_vec(b"\xfe".to_vec()),
    ]);
    assert!(matches!(parse(&line), Ok(Parsed::Line(_))));
    let mut line = words("rm");
    line.push(OsString::from_vec(b"\xff".to_vec()));
    assert_eq!(
        parse(&line).unwrap_err().message,
        "rm: an argument is not valid UTF-8"
    );
}

#[test]
fn no_words_and_help_show_the_same_screen() {
    assert_eq!(help(""), help("-h"));
    assert!(help("--help").contains("exit code of its workload"));
    assert_eq!(
        help("--version"),
        format!("supermachine {}\n", supermachine::RELEASE)
    );
}

#[test]
fn the_first_screen_is_frozen() {
    insta::assert_snapshot!(help(""), @"
    Any OCI image as a hardware-isolated microVM

    Usage: supermachine [OPTIONS] <COMMAND>

    Commands:
      run         Run a command of an image in a new VM
      create      Make a VM that is started later
      start       Start VMs that have ended or were created
      restart     Stop VMs and start them again
      exec        Run a command in a running VM
      cp          Copy files and trees into a VM or out of one
      attach      Connect to the workload of a running VM
      ps          List VMs
      inspect     Print what is known about VMs, as JSON
      port        Print where the ports of a VM are published
      logs        Print what a VM's workload wrote
      stats       Show what VMs use
      top         List the processes in a VM
      stop        Ask workloads to end, and kill those that do not
      pause       Stop the virtual CPUs of VMs
      unpause     Let paused VMs go on
      rename      Give a VM another name
      update      Change what VMs may reach, while they run too
      kill        Send a signal to workloads, KILL unless told otherwise
      wait        Wait until workloads have ended and print their exit codes
      rm          Remove VMs that have ended, with their logs and disks
      fork        Copy a running VM, memory and disk and all, and print the names of the copies
      snapshot    Write running VMs down, to go on from there any number of times
      warm        Start an image's workload, and write it down when it is ready, to go on from there
      pull        Fetch an image into the store
      images      List the images of the store
      rmi         Remove images from the store
      volume      Make, show and remove volumes
      network     Make, show and remove networks on which VMs find each other
      prune       Remove what no image and no VM needs
      df          Show what takes up space
      setup       Install the VMM and guest kernels for programs that embed the library
      doctor      Check whether this host can run VMs
      completion  Print a script that completes our words in a shell
      version     Print the release
      help        Print this message or the help of the given subcommand(s)

    Options:
          --debug    Tell what is done, on standard error, and where the logs of the VMM are
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version
    ");
}

#[test]
fn the_screen_of_run_is_frozen() {
    insta::assert_snapshot!(help("run --help"), @"
    Run a command of an image in a new VM

    Usage: supermachine run [OPTIONS] IMAGE [COMMAND...]
           supermachine run [OPTIONS] --snapshot SNAPSHOT [COMMAND...]

    Options:
      -i, --interactive          Keep standard input open and pass it on
      -t, --tty                  Give the workload a terminal
          --detach-keys <KEYS>   Keys that leave the terminal without ending what runs there [default:
                                 ctrl-p,ctrl-q]
      -d, --detach               Run in the background and print the VM's name
          --rm                   Remove the VM when it has ended
          --name <NAME>          Name of the VM; one is made up otherwise
          --timeout <TIME>       End the workload after this long, like 30s, 5m or 1h; the exit code is
                                 124
          --init[=<BOOL>]        Run the workload under a small init; --init=false makes it PID 1
                                 [default: true]
          --cold-boot            Boot a kernel instead of restoring a template
          --keep-on-failure      Keep the VM for `exec` until it is stopped when its workload cannot be
                                 started
          --snapshot <SNAPSHOT>  Go on from this snapshot instead of starting an image; COMMAND runs
                                 beside its workload
          --help                 Print help
          --debug                Tell what is done, on standard error, and where the logs of the VMM are

    Image:
          --pull <WHEN>         When to fetch the image: missing, always or never [default: missing]
          --platform <OS/ARCH>  Choose this platform of the image, like linux/amd64

    Workload:
      -e, --env <KEY[=VALUE]>     Set a variable; without a value, pass on our own
          --env-file <FILE>       Read variables from a file, one KEY=VALUE a line
      -u, --user <USER[:GROUP]>   Run as this user or uid, and group or gid
      -w, --workdir <DIR>         Start in this directory; it is made if missing
      -h, --hostname <NAME>       Host name inside the VM
          --entrypoint <PROGRAM>  Replace the entrypoint of the image, and drop its command
          --group-add <GROUP>     Run with a further group, by name or id

    Limits:
      -m, --memory <SIZE>              Memory of the workload, like 512M or 2G [default: 512M]
          --cpus <N>                   Number of CPUs, like 2 or 0.5 [default: 1]
          --disk-size <SIZE>           Size of the writable disk [default: 10G]
          --ulimit <NAME=SOFT[:HARD]>  Set a limit of setrlimit(2), like nofile=1024:2048; -1 is none
          --pids-limit <N>             How many processes and threads there may be; -1 is any number
          --sysctl <NAME=VALUE>        Set a kernel parameter of the VM

    Files:
      -v, --volume <NAME:PATH[:ro]>  Mount a volume; it is made if there is none of this name
          --mount <KEY=VALUE,...>    Mount a volume or a tmpfs, like type=volume,src=NAME,dst=PATH
          --tmpfs <PATH[:OPTIONS]>   Mount a tmpfs, with options like size=64m,mode=1777,exec
          --read-only                Let the workload write to mounts only, /tmp and /run among them
          --shm-size <SIZE>          Size of /dev/shm [default: 64M]
          --secret <NAME=SOURCE>     A file under /run/secrets, from file:PATH or env:VARIABLE; kept
                                     nowhere

    Network:
          --network <NETWORK>        What the VM may reach: none, public or full, or a network of
                                     `network create` [default: public]
          --network-alias <NAME>     A name by which other VMs of the network find this one, beside its
                                     own
      -p, --publish <PORTS>          Publish a port as [IP:]HOST:GUEST[/udp]; without IP on 127.0.0.1
          --egress <RULE>            Allow or deny: allow|deny:CIDR|DOMAIN[:PORTS][/tcp|udp], in order
          --network-rate <RATE>      Bytes a second that pass at most: RATE each way, or
                                     up=RATE,down=RATE,packets=N
          --add-host <NAME:ADDRESS>  Add a line to /etc/hosts
          --dns <ADDRESS>            Name server to ask, instead of the host's
          --dns-search <DOMAIN>      Search domain for /etc/resolv.conf, or . for none
          --dns-option <OPTION>      Option for /etc/resolv.conf

    Life:
          --restart <POLICY>      Start it again when it ends: no, on-failure[:MAX], always or
                                  unless-stopped [default: no]
          --stop-signal <SIGNAL>  Signal that asks the workload to end, instead of the image's
          --stop-timeout <TIME>   How long a stop waits before it kills, in seconds or like 5m [default:
                                  10]
      -l, --label <KEY[=VALUE]>   Put a label on the VM
          --label-file <FILE>     Read labels from a file, one KEY=VALUE a line
          --log-opt <KEY=VALUE>   How much of the log is kept: max-size=10m, max-file=3 [default: 16
                                  MiB, 2]
          --cidfile <FILE>        Write the VM's id to a file, which must not exist

    Health:
          --health-cmd <COMMAND>          Ask with this line of shell whether the workload is well,
                                          instead of the image's way
          --health-interval <TIME>        Time between two such tests [default: 30s]
          --health-timeout <TIME>         How long one test may take [default: 30s]
          --health-start-period <TIME>    How long failed tests do not count after the start [default:
                                          0s]
          --health-start-interval <TIME>  Time between two tests while failed ones do not count
                                          [default: 5s]
          --health-retries <N>            Failed tests in a row until the workload counts as unhealthy
                                          [default: 3]
          --no-healthcheck                Do not run the image's health check

    IMAGE is a name as Docker resolves it (alpine, ghcr.io/org/app:1.2, name@sha256:...), oci:DIR[:TAG],
    oci-archive:FILE, docker-archive:FILE or rootfs:DIR.
    ");
    assert_eq!(help("help run"), help("run --help"));
}

#[test]
fn the_other_screens_are_frozen() {
    insta::assert_snapshot!(help("exec --help"), @"
    Run a command in a running VM

    Usage: supermachine exec [OPTIONS] NAME COMMAND...

    Options:
      -i, --interactive          Keep standard input open and pass it on
      -t, --tty                  Give the command a terminal
      -d, --detach               Start the command and leave it
          --detach-keys <KEYS>   Keys that leave a command's terminal without ending it [default:
                                 ctrl-p,ctrl-q]
      -e, --env <KEY[=VALUE]>    Set a variable; without a value, pass on our own
          --env-file <FILE>      Read variables from a file, one KEY=VALUE a line
      -u, --user <USER[:GROUP]>  Run as this user or uid, and group or gid
      -w, --workdir <DIR>        Run in this directory; it is made if missing
          --debug                Tell what is done, on standard error, and where the logs of the VMM are
      -h, --help                 Print help
    ");
    insta::assert_snapshot!(help("stop --help"), @"
    Ask workloads to end, and kill those that do not

    Usage: supermachine stop [OPTIONS] <NAME>...

    Arguments:
      <NAME>...  The VMs

    Options:
      -t, --time <TIME>      How long to wait before killing, in seconds or like 5m [default: what the
                             VM was started with, 10 s]
      -s, --signal <SIGNAL>  Send this signal instead of the image's
          --debug            Tell what is done, on standard error, and where the logs of the VMM are
      -h, --help             Print help
    ");
    insta::assert_snapshot!(help("ps -h"), @"
    List VMs

    Usage: supermachine ps [OPTIONS]

    Options:
      -a, --all                  Those that have ended too
      -q, --quiet                Names only
      -f, --filter <KIND=VALUE>  Those that match only: name=, id=, label=KEY[=VALUE], status=, health=,
                                 ancestor=IMAGE, exited=CODE
          --format <TEMPLATE>    Print this for each, with fields like {{.Names}}; `table ...` has a
                                 heading, `json` is a line of JSON
      -n, --last <N>             The last N, whether they run or not
      -l, --latest               The last one, whether it runs or not
          --no-trunc             Do not shorten columns
          --json                 Print JSON for programs
          --debug                Tell what is done, on standard error, and where the logs of the VMM are
      -h, --help                 Print help
    ");
    insta::assert_snapshot!(help("logs -h"), @"
    Print what a VM's workload wrote

    Usage: supermachine logs [OPTIONS] <NAME>

    Arguments:
      <NAME>  The VM

    Options:
      -f, --follow        Wait for more until the VM has ended
          --since <TIME>  Lines since this time only: 10m (ago), 2024-02-29T12:00:00Z, or seconds since
                          1970
          --until <TIME>  Lines until this time only
      -n, --tail <LINES>  The last so many lines only, or all
      -t, --timestamps    Put the time in front of each line
          --debug         Tell what is done, on standard error, and where the logs of the VMM are
      -h, --help          Print help
    ");
}
