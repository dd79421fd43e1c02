//! Asks that are unusual, and asks for what cannot be.

use rustix::process::Signal;
use std::io::Write;
use testkit::Home;

#[test]
fn start_in_front_has_the_output_from_its_first_byte_and_the_exit_code() {
    let home = Home::new();
    let image = home.image("busybox");
    let create = |name: &str, script: &str| {
        home.run(["create", "--name", name, &image, "sh", "-c", script])
            .ok();
    };
    create("say", "echo out; echo err >&2; exit 4");
    for _ in 0..2 {
        let said = home.run(["start", "-a", "say"]);
        assert_eq!(
            (said.text(), &*said.stderr, said.code),
            ("out\n", "err\n", 4)
        );
    }
    let several = home.run(["start", "-a", "say", "say"]);
    assert_eq!(several.code, 125);
    assert!(several.stderr.contains("for one VM"), "{}", several.stderr);
    home.assert_nothing_runs();
}

#[test]
fn input_reaches_every_life_of_a_vm_that_was_made_with_it() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["create", "-i", "--name", "echo", &image, "cat"])
        .ok();
    for words in ["one\n", "two\n"] {
        let told = home
            .cli(["start", "-ai", "echo"])
            .output_with_input(words.as_bytes());
        assert_eq!(
            (told.ok(), told.code),
            (words, 0),
            "its end is the end of the input"
        );
    }
    // Nobody is there, so nothing ends; who comes is heard.
    home.run(["start", "echo"]).ok();
    let mut first = home.cli(["start", "-i", "echo"]).start();
    let mut input = first.take_stdin();
    input.write_all(b"three\n").unwrap();
    assert_eq!(first.line(), "three");
    drop(input);
    let mut second = home.cli(["attach", "echo"]).start();
    second.take_stdin().write_all(b"four\n").unwrap();
    for one in [&mut first, &mut second] {
        assert_eq!(
            one.line(),
            "four",
            "the end of one's input is not that of another's"
        );
    }
    home.run(["rm", "-f", "echo"]).ok();
    assert_eq!((first.finish().code, second.finish().code), (137, 137));
    home.assert_nothing_left();
}

#[test]
fn an_exec_takes_a_file_of_variables_and_a_mebibyte_of_arguments_and_ends_with_its_client() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run([
        "run",
        "-d",
        "--name",
        "web",
        &image,
        "tail",
        "-f",
        "/dev/null",
    ])
    .ok();
    let file = home.scratch().join("env");
    std::fs::write(&file, "FROM_FILE=two words\n# a comment\nBOTH=file\n").unwrap();
    let file = file.to_str().unwrap();
    let flags = ["exec", "--env-file", file, "-e", "BOTH=flag", "web"];
    let script = ["sh", "-c", "echo $FROM_FILE, $BOTH"];
    let out = home.run([&flags[..], &script].concat());
    assert_eq!(out.ok(), "two words, flag\n");

    let many = vec!["x".repeat(1023); 1024];
    let count = ["exec", "web", "sh", "-c", "echo $# ${#1}", "-"].map(str::to_owned);
    let out = home.run([&count[..], &many].concat());
    assert_eq!(out.ok(), "1024 1023\n");

    let mut client = home
        .cli(["exec", "web", "sh", "-c", "echo $$; exec tail -f /dev/null"])
        .start();
    let pid = client.line();
    client.signal(Signal::KILL);
    client.finish();
    let gone = "while kill -0 $1 2>/dev/null; do true; done";
    home.run(["exec", "web", "sh", "-c", gone, "-", pid.trim()])
        .ok();
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

#[test]
fn a_name_that_nobody_has_is_named_by_every_command() {
    let home = Home::new();
    for words in [
        &["kill", "nobody"][..],
        &["stop", "nobody"],
        &["rm", "nobody"],
        &["start", "nobody"],
        &["start", "-a", "nobody"],
        &["restart", "nobody"],
        &["exec", "nobody", "true"],
        &["logs", "nobody"],
        &["wait", "nobody"],
        &["inspect", "nobody"],
        &["pause", "nobody"],
        &["unpause", "nobody"],
        &["rename", "nobody", "other"],
        &["attach", "nobody"],
        &["top", "nobody"],
        &["stats", "--no-stream", "nobody"],
        &["cp", "nobody:/x", "/tmp/x"],
        &["fork", "nobody"],
    ] {
        let out = home.run(words);
        assert_eq!(out.code, 125, "{words:?}");
        assert_eq!(
            out.stderr, "supermachine: no such VM: nobody\n",
            "{words:?}"
        );
    }
}

#[test]
fn sizes_and_numbers_that_cannot_be_are_refused_before_anything_is_done() {
    let home = Home::new();
    for (words, says) in [
        (
            "run --memory 0",
            "--memory 0: a size must be more than zero",
        ),
        ("run --memory=-1", "--memory -1: a size cannot be negative"),
        (
            "run --shm-size 0",
            "--shm-size 0: a size must be more than zero",
        ),
        (
            "run --shm-size=-1",
            "--shm-size -1: a size cannot be negative",
        ),
        (
            "run --cpus 0",
            "--cpus 0: it takes a number of CPUs, like 2 or 1.5, 0.01 at least",
        ),
        (
            "run --cpus=-1",
            "--cpus -1: it takes a number of CPUs, like 2 or 1.5, 0.01 at least",
        ),
        (
            "run --pids-limit=-5",
            "--pids-limit -5: it takes a whole number, or -1 for no limit",
        ),
        (
            "run --stop-timeout=-1",
            "--stop-timeout -1: a duration cannot be negative",
        ),
        (
            "run --log-opt max-size=0",
            "--log-opt max-size=0: a size must be more than zero",
        ),
        (
            "volume create --size 0",
            "--size 0: a size must be more than zero",
        ),
        (
            "volume create --size=-1",
            "--size -1: a size cannot be negative",
        ),
        ("stop -t -5", "--time -5: a duration cannot be negative"),
    ] {
        let out = home.run(words.split(' ').chain(["thing"]));
        assert_eq!(out.code, 125, "{words}");
        assert_eq!(out.stderr, format!("supermachine: {says}\n"), "{words}");
    }
}
