use super::*;
use crate::args::{Command, Parsed, parse};
use crate::output::failure;
use std::time::Duration;

fn plan(words: &str) -> anyhow::Result<Plan> {
    let words: Vec<OsString> = ["supermachine", "run"]
        .into_iter()
        .chain(words.split(' '))
        .map(OsString::from)
        .collect();
    match parse(&words)? {
        Parsed::Line(args::Line {
            command: Command::Run(args),
            ..
        }) => Plan::resolve(*args),
        other => panic!("{other:?}"),
    }
}

fn refused(words: &str) -> String {
    failure::render(&plan(words).unwrap_err())
}

/// What every foreground run has.
fn base() -> VmConfig {
    VmConfig::new()
        .run_image()
        .output(MainOutput::Stream)
        .retention(Retention::Keep)
}

#[test]
fn a_bare_image_runs_as_it_wants_in_the_foreground() {
    let plan = plan("alpine").unwrap();
    assert_eq!((plan.mode, plan.config), (Mode::Foreground, base()));
    assert_eq!(plan.image.text, "alpine");
    assert_eq!(plan.image.policy, PullPolicy::Missing);
}

#[test]
fn what_follows_the_image_is_the_command_even_if_it_looks_like_a_flag() {
    let plan = plan("alpine --rm -i -- --memory 0").unwrap();
    assert_eq!(
        plan.config,
        base().args(["--rm", "-i", "--", "--memory", "0"])
    );
}

#[test]
fn every_flag_reaches_the_vm() {
    let words = "-i --rm --name web -e A=1 -e B= -u nobody:nogroup -w /srv -h box --entrypoint /bin/sh -m 1g --cpus 2 \
                 --disk-size 20G --timeout 5m --init=false --network none --pull never --platform linux/amd64 alpine -c id";
    let plan = plan(words).unwrap();
    let expected = base()
        .stdin(MainStdin::Stream)
        .retention(Retention::Remove)
        .name("web")
        .env("A", "1")
        .env("B", "")
        .user("nobody:nogroup")
        .workdir("/srv")
        .hostname("box")
        .entrypoint(["/bin/sh"])
        .args(["-c", "id"])
        .memory(Memory::from_bytes(1 << 30).unwrap())
        .cpus(2)
        .disk_size(20 << 30)
        .timeout(Duration::from_secs(300))
        .network(supermachine::NetworkMode::None)
        .without_init();
    assert_eq!(plan.config, expected);
    assert_eq!(plan.image.policy, PullPolicy::Never);
    assert_eq!(plan.image.platform.unwrap().to_string(), "linux/amd64");
}

#[test]
fn detached_output_goes_to_the_log_only() {
    let plan = plan("-d alpine").unwrap();
    assert_eq!(
        (plan.mode, plan.config),
        (Mode::Detached, base().output(MainOutput::LogOnly))
    );
}

#[test]
fn init_is_on_unless_it_is_switched_off() {
    assert_eq!(plan("--init alpine").unwrap().config, base());
    assert_eq!(plan("--init=true alpine").unwrap().config, base());
    assert_eq!(
        plan("--init=false alpine").unwrap().config,
        base().without_init()
    );
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    insta::assert_snapshot!(refused("--memory 0 alpine"), @"supermachine: --memory 0: a size must be more than zero");
    insta::assert_snapshot!(refused("--memory -1 alpine"), @"supermachine: --memory -1: a size cannot be negative");
    insta::assert_snapshot!(refused("--memory 1M alpine"), @"supermachine: --memory 1M: 1048576 bytes of memory are out of range: 16 MiB to 256 GiB");
    insta::assert_snapshot!(refused("--disk-size 99999999999999T alpine"), @"supermachine: --disk-size 99999999999999T: too large");
    insta::assert_snapshot!(refused("--cpus 0.001 alpine"), @"supermachine: --cpus 0.001: it takes a number of CPUs, like 2 or 1.5, 0.01 at least");
    insta::assert_snapshot!(refused("--cpus -1 alpine"), @"supermachine: --cpus -1: it takes a number of CPUs, like 2 or 1.5, 0.01 at least");
    insta::assert_snapshot!(refused("--timeout 0 alpine"), @"supermachine: --timeout 0: the duration must be more than zero");
    insta::assert_snapshot!(refused("--timeout soon alpine"), @"supermachine: --timeout soon: not a duration: write 30s, 5m, 1h, or a number of seconds");
    insta::assert_snapshot!(refused("-e =x alpine"), @r#"supermachine: -e "=x": the variable has no name"#);
    insta::assert_snapshot!(refused("--env-file /no/such alpine"), @"supermachine: cannot read the environment file /no/such: No such file or directory (os error 2)");
    insta::assert_snapshot!(refused("--network host alpine"), @"
    supermachine: run: --network host: a VM has a network of its own
    hint: --network full lets it reach the host, at the address of its gateway
    ");
    insta::assert_snapshot!(refused("--platform plan9 alpine"), @r#"supermachine: --platform plan9: invalid platform "plan9": write OS/ARCHITECTURE[/VARIANT], for example linux/amd64"#);
    insta::assert_snapshot!(refused("-it alpine"), @"
    supermachine: the input device is not a TTY
    hint: leave -t out when standard input is a file or a pipe
    ");
    insta::assert_snapshot!(refused("-t --detach-keys ctrl-1 alpine"), @r#"supermachine: --detach-keys ctrl-1: "ctrl-1" is neither one character nor ctrl- with one of a-z, @, [, \, ], ^ and _"#);
    insta::assert_snapshot!(refused("Alpine"), @r#"supermachine: invalid image reference "Alpine": the repository name "Alpine" must be lowercase"#);
    insta::assert_snapshot!(refused("oci:"), @"supermachine: oci: needs the path of a directory");
}
