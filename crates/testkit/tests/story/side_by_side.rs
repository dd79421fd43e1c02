//! The same image and command under Debian's runc, configured as Docker does, and here. Every difference is a row of
//! docs/differences.md, and there is no row without a difference.

use std::collections::{BTreeMap, BTreeSet};
use testkit::{Cli, Home, LIMITS, Runc};

/// What a process sees there: topic and value.
type Sight = BTreeMap<String, String>;
/// A topic, and its value on both sides.
type Difference = [String; 3];

const OBSERVE: &[&str] = &["/bin/testbox", "observe"];
const DOCUMENT: &str = include_str!("../../../../docs/differences.md");

fn sight(text: &str) -> Sight {
    let facts = text
        .lines()
        .filter_map(|line| line.trim_end().split_once(":"));
    let sight: Sight = facts
        .map(|(topic, value)| (topic.to_owned(), value.trim().to_owned()))
        .collect();
    assert!(sight.len() > 80, "{text}");
    sight
}

fn differences(there: &Sight, here: &Sight) -> BTreeSet<Difference> {
    let topics: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let value = |sight: &Sight, topic: &String| {
        sight
            .get(topic)
            .map_or("nothing", String::as_str)
            .to_owned()
    };
    topics
        .into_iter()
        .filter(|topic| there.get(*topic) != here.get(*topic))
        .map(|topic| [topic.clone(), value(there, topic), value(here, topic)])
        .collect()
}

/// The rows below a heading: `| topic | runc | here | why |`.
fn documented(heading: &str) -> BTreeSet<Difference> {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("docs/differences.md has no heading `{heading}`"));
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .map(|row| {
            let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
            let mut cell = || {
                cells
                    .next()
                    .unwrap_or_default()
                    .trim_matches('`')
                    .to_owned()
            };
            [cell(), cell(), cell()]
        })
        .collect()
}

#[track_caller]
fn assert_documented(heading: &str, found: &BTreeSet<Difference>) {
    let documented = documented(heading);
    let rows = |rows: BTreeSet<&Difference>| -> String {
        let row = |[topic, there, here]: &Difference| format!("| {topic} | {there} | {here} |\n");
        rows.into_iter().map(row).collect()
    };
    assert!(
        *found == documented,
        "`{heading}` of docs/differences.md\nlacks:\n{}\nhas, and there is no such difference:\n{}",
        rows(found.difference(&documented).collect()),
        rows(documented.difference(found).collect()),
    );
}

/// The words that run the image here as runc is set up to.
fn here(home: &Home, flags: &[&str]) -> Vec<String> {
    let limits = LIMITS
        .iter()
        .flat_map(|(name, soft, hard)| ["--ulimit".to_owned(), format!("{name}={soft}:{hard}")]);
    let before = ["run", "--rm"]
        .iter()
        .chain(flags)
        .map(|&word| word.to_owned());
    before
        .chain(limits)
        .chain([home.image("awkward"), "observe".to_owned()])
        .collect()
}

#[test]
fn what_a_process_sees_differs_as_documented() {
    let home = Home::new();
    let runc = Runc::unpack("awkward", &home.scratch().join("bundle"));
    let besides_roots = |found: &BTreeSet<Difference>| -> BTreeSet<Difference> {
        found
            .difference(&documented("What root sees"))
            .cloned()
            .collect()
    };

    runc.edit(|process| process["args"] = OBSERVE.into());
    let there = sight(runc.run().output().ok());
    let seen = sight(home.run(here(&home, &["-i"])).ok());
    let found = besides_roots(&differences(&there, &seen));
    assert_documented("What another user sees besides", &found);

    runc.edit(|process| {
        process["cwd"] = "/".into();
        process["user"] = serde_json::json!({"uid": 0, "gid": 0, "additionalGids": [3456]});
    });
    let there = sight(runc.run().output().ok());
    let seen = sight(home.run(here(&home, &["-i", "-u", "0", "-w", "/"])).ok());
    assert_documented("What root sees", &differences(&there, &seen));

    runc.edit(|process| {
        process["terminal"] = true.into();
        process["env"]
            .as_array_mut()
            .unwrap()
            .push("TERM=xterm".into());
    });
    let there = at_terminal(runc.run());
    let seen = at_terminal(home.cli(here(&home, &["-it", "-u", "0", "-w", "/"])));
    let found = besides_roots(&differences(&there, &seen));
    assert_documented("What root sees besides at a terminal", &found);
}

fn at_terminal(cli: Cli) -> Sight {
    let mut terminal = cli.at_terminal(200, 200);
    terminal.shows("that is all");
    let sight = sight(&terminal.screen());
    assert_eq!(terminal.wait(), 0);
    sight
}

/// The standard library of our test program changes them before it begins, so another program is asked.
#[test]
fn no_signal_is_blocked_or_ignored_on_either_side() {
    let home = Home::new();
    let show = [
        "/bin/grep",
        "-E",
        "^Sig(Pnd|Blk|Ign|Cgt)|^ShdPnd",
        "/proc/self/status",
    ];
    let runc = Runc::unpack("awkward", &home.scratch().join("bundle"));
    runc.edit(|process| process["args"] = show.as_slice().into());
    let there = runc.run().output();
    let image = home.image("awkward");
    let here = ["run", "--rm", "--entrypoint", "/bin/grep", &image];
    let here = home.run([&here[..], &show[1..]].concat());
    assert_eq!(signals(there.ok()), signals(here.ok()));
    assert_eq!(signals(here.text()), [0; 5]);
}

/// Without 32 and 33: the C library has them for itself, and whoever started the tests may ignore them.
fn signals(status: &str) -> Vec<u64> {
    let masks = status
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap());
    masks
        .map(|mask| u64::from_str_radix(mask, 16).unwrap() & !(3 << 31))
        .collect()
}

#[test]
fn ends_of_every_kind_have_the_exit_code_they_have_under_docker() {
    let home = Home::new();
    let runc = Runc::unpack("awkward", &home.scratch().join("bundle"));
    let image = home.image("awkward");
    for (words, code) in [
        (&["/bin/sh", "-c", "exit 0"][..], 0),
        (&["/bin/sh", "-c", "exit 7"], 7),
        (&["/bin/sh", "-c", "exit 300"], 44),
        (&["no-such-program"], 127),
        (&["/no/such/program"], 127),
        (&["/etc/passwd"], 126),
        (&["/etc"], 126),
    ] {
        runc.edit(|process| process["args"] = words.into());
        let there = runc.run().output();
        let flags = ["run", "--rm", "--entrypoint", words[0], &image];
        let here = home.run([&flags[..], &words[1..]].concat());
        assert_eq!(
            as_docker_says_it(there.code, &there.stderr),
            code,
            "{words:?} {}",
            there.stderr
        );
        assert_eq!(here.code, code, "{words:?} {}", here.stderr);
    }
}

/// Docker reads in runc's message why a container did not start.
fn as_docker_says_it(code: i32, stderr: &str) -> i32 {
    let says = |text: &[&str]| text.iter().any(|text| stderr.contains(text));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        code
    }
}

#[test]
fn a_workload_killed_from_outside_ends_alike() {
    let home = Home::new();
    let wait = ["/bin/sh", "-c", "echo ready; exec sleep 1000"];
    let runc = Runc::unpack("awkward", &home.scratch().join("bundle"));
    runc.edit(|process| process["args"] = wait.as_slice().into());
    let mut there = runc.run().start();
    assert_eq!(there.line(), "ready");
    runc.kill("KILL").output().ok();
    let flags = [
        "run",
        "--rm",
        "--name",
        "victim",
        "--entrypoint",
        "/bin/sh",
        &home.image("awkward"),
    ];
    let mut here = home.cli([&flags[..], &wait[1..]].concat()).start();
    assert_eq!(here.line(), "ready");
    home.run(["kill", "victim"]).ok();
    assert_eq!((there.wait().code, here.wait().code), (137, 137));
}
