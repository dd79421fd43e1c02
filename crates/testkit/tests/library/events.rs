//! What is told of a VM while it lives, and how it ended.

use crate::{idle_vm, runtime, shell};
use rustix::process::{Signal, kill_process};
use std::time::Duration;
use supermachine::{
    BootMode, Error, EventKind, ExitStatus, HealthStatus, Retention, Vm, VmConfig, VmStatus,
    VmmError,
};
use testkit::Home;

/// The exit code of a workload or its signal, and everything else as it is.
#[derive(Debug, PartialEq)]
enum Told {
    Exited(ExitStatus),
    Killed(String),
    Other(EventKind),
}

impl From<EventKind> for Told {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Exited(exit) => Self::Exited(exit.status),
            EventKind::OutOfMemory(Some(victim)) => Self::Killed(victim.name),
            other => Self::Other(other),
        }
    }
}

/// Everything that is told until the VM is gone.
fn story(vm: &Vm) -> Vec<Told> {
    let events = vm.events().unwrap();
    events.map(|event| event.unwrap().kind.into()).collect()
}

/// Less to fill until it runs out.
const LITTLE_MEMORY: &str = "echo 32M > /sys/fs/cgroup/memory.max";

const STARTED: Told = Told::Other(EventKind::Started);

#[test]
fn the_life_of_a_vm_is_told_in_order_to_this_process_and_to_others() {
    let home = Home::new();
    let config = VmConfig::new().retention(Retention::Keep).name("told");
    let vm = shell(&home, config, "mkfifo /go && read -r _ < /go; exit 3");
    let elsewhere = runtime(&home).open_vm("told").unwrap();
    let far = elsewhere.events().unwrap();
    vm.pause().unwrap();
    vm.resume().unwrap();
    vm.snapshot("page").unwrap();
    drop(vm.fork(2).unwrap());
    // The VM may be gone before the answer.
    drop(vm.exec(["sh", "-c", "until echo > /go; do true; done"]));
    vm.wait().unwrap();
    let copied = || EventKind::Forked { count: 2 };
    let page = || EventKind::SnapshotMade {
        name: "page".into(),
    };
    let expected = || {
        let kinds = [EventKind::Paused, EventKind::Resumed, page(), copied()];
        let mut told = vec![STARTED];
        told.extend(kinds.map(Told::Other));
        told.push(Told::Exited(ExitStatus::Code(3)));
        told
    };
    assert_eq!(story(&vm), expected());
    drop(vm);
    let far: Vec<Told> = far.map(|event| event.unwrap().kind.into()).collect();
    assert_eq!(far, expected());
    drop(elsewhere);
    runtime(&home).remove_vm("told").unwrap();
}

#[test]
fn guest_14_a_process_killed_for_want_of_memory_is_named_in_an_event() {
    let home = Home::new();
    let script = format!("{LITTLE_MEMORY} && exec tail /dev/zero");
    let vm = shell(&home, VmConfig::new(), &script);
    assert_eq!(
        story(&vm),
        [
            STARTED,
            Told::Killed("tail".into()),
            Told::Exited(ExitStatus::Signal(9)),
        ]
    );
    assert!(vm.wait().unwrap().out_of_memory);

    let idle = idle_vm(&home);
    let mut events = idle.events().unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::Started);
    let script = format!("{LITTLE_MEMORY} && echo $$ && exec tail /dev/zero");
    let killed = idle.exec(["sh", "-c", &script]).unwrap();
    assert!(killed.exit.out_of_memory);
    let pid = String::from_utf8(killed.stdout)
        .unwrap()
        .trim()
        .parse()
        .ok();
    let EventKind::OutOfMemory(Some(victim)) = events.next().unwrap().unwrap().kind else {
        panic!("not a kill for want of memory")
    };
    assert_eq!(victim.name, "tail");
    assert!(victim.pid.is_none() || victim.pid == pid, "{victim:?}");
    idle.stop().unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::Stopped);
    assert!(events.next().is_none());
}

#[test]
fn guest_14_a_panic_of_the_guests_kernel_is_an_event_with_its_words() {
    let home = Home::new();
    let vm = idle_vm(&home);
    // 2 means: panic even if only a cgroup is out of memory.
    let panics = "echo 2 > /proc/sys/vm/panic_on_oom";
    let script = format!("{LITTLE_MEMORY} && {panics} && tail /dev/zero");
    vm.exec(["sh", "-c", &script]).unwrap_err();
    let story = story(&vm);
    let [STARTED, Told::Other(EventKind::Panicked { reason })] = &story[..] else {
        panic!("{story:?}")
    };
    assert!(reason.contains("Out of memory"), "{reason}");
}

/// Root inside cannot see the agent, but it can see the agent's reaper, its PID 1, and take away what protects that.
#[test]
fn guest_14_the_death_of_the_agent_is_typed_and_an_event() {
    let home = Home::new();
    let config = VmConfig::new().retention(Retention::Keep).name("lost");
    let vm = shell(&home, config, "sleep 1000");
    // What eats the memory is not the victim itself: it ends with its namespace.
    let script = format!(
        "{LITTLE_MEMORY} && echo -1000 > /proc/self/oom_score_adj \
         && echo 1000 > /proc/1/oom_score_adj && exec tail /dev/zero"
    );
    drop(vm.exec(["sh", "-c", &script]));
    let error = vm.wait().unwrap_err();
    let Error::Shared(shared) = &error else {
        panic!("{error:?}")
    };
    let Error::Vmm(VmmError::AgentDied { reason, console }) = &**shared else {
        panic!("{error:?}")
    };
    assert!(reason.contains("reaper"), "{reason}");
    assert!(console.contains("agent died"), "{console}");
    let last = story(&vm).pop();
    assert!(
        matches!(&last, Some(Told::Other(EventKind::AgentDied { reason: told })) if told == reason),
        "{last:?}"
    );
    drop(vm);
    let status = runtime(&home).vm_summary("lost").unwrap().status;
    assert!(matches!(status, VmStatus::Failed { message, .. } if message.contains("agent")));
    runtime(&home).remove_vm("lost").unwrap();
    home.assert_nothing_left();
}

#[test]
fn a_killed_vmm_is_an_event_with_its_signal() {
    let home = Home::new();
    let vm = idle_vm(&home);
    kill_process(crate::ends::vmm_of(&home), Signal::KILL).unwrap();
    let story = story(&vm);
    let [STARTED, Told::Other(EventKind::VmmDied { reason })] = &story[..] else {
        panic!("{story:?}")
    };
    assert!(reason.contains("signal 9"), "{reason}");
}

#[test]
fn a_change_of_health_is_an_event_and_the_same_verdict_again_is_none() {
    let home = Home::new();
    let config = VmConfig::new()
        .health_command("test -e /well")
        .health_interval(Duration::from_millis(20))
        .health_retries(1);
    let vm = shell(&home, config, "sleep 1000");
    let mut events = vm.events().unwrap();
    let mut next = || events.next().unwrap().unwrap().kind;
    assert_eq!(next(), EventKind::Started);
    assert_eq!(next(), EventKind::Health(HealthStatus::Unhealthy));
    vm.exec(["touch", "/well"]).unwrap();
    assert_eq!(next(), EventKind::Health(HealthStatus::Healthy));
    vm.exec(["rm", "/well"]).unwrap();
    assert_eq!(next(), EventKind::Health(HealthStatus::Unhealthy));
    vm.kill().unwrap();
    assert_eq!(next(), EventKind::Stopped);
}

#[test]
fn a_destination_that_is_refused_is_an_event_with_the_rule_that_refuses_it() {
    let home = Home::new();
    let rule = "deny:127.0.0.1/32:9/tcp";
    // The gateway stands for the host's loopback interface. No name and no address beyond it is tried.
    let config = VmConfig::new().egress([rule.parse().unwrap()]);
    let script =
        "for port in 9 9 10; do nc -w1 198.19.0.1 $port; done; mkfifo /end; read -r _ < /end";
    let vm = shell(&home, config, script);
    let mut events = vm.events().unwrap();
    let mut next = || Told::from(events.next().unwrap().unwrap().kind);
    let refused = |flow: &str, reason: &str, total| {
        Told::Other(EventKind::EgressRefused {
            flow: flow.into(),
            reason: reason.into(),
            total,
        })
    };
    assert_eq!(next(), STARTED);
    assert_eq!(next(), refused("tcp 198.19.0.1:9", rule, 1));
    let told = refused("tcp 198.19.0.1:10", "loopback address", 3);
    assert_eq!(next(), told);
    drop((events, vm));
    home.assert_nothing_left();
}

#[test]
fn a_deadline_without_an_event_is_an_error_and_the_events_go_on() {
    let home = Home::new();
    let image = crate::image(&home, "busybox");
    let vm = image.start(&VmConfig::new().boot(BootMode::Cold)).unwrap();
    let mut events = vm.events().unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::Started);
    let late = events.next_deadline(Duration::ZERO).unwrap_err();
    assert!(matches!(late, Error::Deadline { .. }), "{late:?}");
    vm.pause().unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::Paused);
}
