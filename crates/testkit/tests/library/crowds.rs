//! Many VMs at once.

use crate::{idle_vm, image, runtime};
use std::collections::BTreeSet;
use std::sync::Mutex;
use supermachine::{Memory, Vm, VmConfig};
use testkit::Home;

/// Copies of which every two are a pair: 1,035.
const COPIES: u32 = 46;
/// VMs that are restored at once.
const VMS: usize = 200;

#[test]
fn guest_18_of_a_thousand_pairs_of_copies_none_has_the_same_randomness() {
    let home = Home::new();
    let vm = image(&home, "static").start(&VmConfig::new()).unwrap();
    let random = |vm: &Vm| -> Vec<String> {
        let output = vm.exec(["/testbox", "random"]).unwrap();
        assert!(output.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    // The pool of the original is full and was read from.
    let mut seen: BTreeSet<_> = random(&vm).into_iter().collect();
    let copies = vm.fork(COPIES).unwrap();
    for copy in &copies {
        let lines = random(copy);
        assert_eq!(lines.len(), 4);
        for line in lines {
            assert!(seen.insert(line), "two copies have the same randomness");
        }
    }
    drop((copies, vm));
    home.assert_nothing_left();
}

#[test]
fn guest_05_two_hundred_vms_are_restored_at_once_and_each_answers() {
    let home = Home::new();
    let config = VmConfig::new().memory(Memory::from_bytes(128 << 20).unwrap());
    let image = image(&home, "busybox");
    // The template is made by one of them, so that the others are restores.
    drop(image.start(&config).unwrap());
    let vms = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..VMS {
            scope.spawn(|| {
                let vm = image.start(&config).unwrap();
                vms.lock().unwrap().push(vm);
            });
        }
    });
    let vms = vms.into_inner().unwrap();
    assert_eq!(runtime(&home).vms().unwrap().len(), VMS);
    let hosts: BTreeSet<_> = vms
        .iter()
        .map(|vm| vm.exec(["hostname"]).unwrap().stdout)
        .collect();
    assert_eq!(hosts.len(), VMS);
    drop(vms);
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

/// Writes files in turn, each with its sum, and looks whether those it wrote before are as they were. Counts in /dev/shm.
const DISK: &str = "mkdir /load; cd /load; i=0; while :; do
    i=$((i + 1)); slot=$((i % 8))
    if [ -e sum$slot ]; then md5sum -cs sum$slot || echo disk $i >> /bad; fi
    rm -f sum$slot; seq $i $((i + 3000)) > file$slot; fsync file$slot 2>/dev/null || sync
    md5sum file$slot > sum$slot; echo $i > /dev/shm/disk
    [ $slot = 0 ] && echo 1 > /proc/sys/vm/drop_caches
done";
/// Sleeps for short times, by the monotonic clock, and notices if it goes back or if a sleep does not end.
const TIMERS: &str = "last=0; i=0; while :; do
    i=$((i + 1)); usleep 3000; read now rest < /proc/uptime; now=${now%.*}${now#*.}
    [ $now -ge $last ] || echo clock $last $now >> /bad
    last=$now; echo $i > /dev/shm/timers
done";
/// Sums up fractions: every round must come to the same.
const FLOATS: &str = "i=0; while :; do
    i=$((i + 1)); sum=$(awk 'BEGIN { for (n = 1; n < 3000; n++) s += sin(n) / n; printf \"%.12f\", s }')
    [ -z \"$first\" ] && first=$sum; [ $sum = $first ] || echo floats $sum >> /bad
    echo $i > /dev/shm/floats
done";

#[test]
fn under_load_on_every_device_a_vm_and_its_copies_go_on_unharmed() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let loads: Vec<_> = [DISK, TIMERS, FLOATS]
        .iter()
        .map(|script| {
            vm.exec_builder()
                .argv(["sh", "-c", script])
                .spawn()
                .unwrap()
        })
        .collect();
    assert_alive(&vm);
    let numbers: String = (0..30_000).map(|number| format!("{number}\n")).collect();
    let mut copies = Vec::new();
    for round in 0..3 {
        // Much comes through the socket while the VM is held, and nothing of it is lost.
        let counting = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done";
        std::thread::scope(|scope| {
            let stream = scope.spawn(|| vm.exec(["sh", "-c", counting]).unwrap().stdout);
            let snapshot = vm.snapshot(&format!("s{round}")).unwrap();
            copies.push(snapshot.start(&VmConfig::new()).unwrap());
            copies.extend(vm.fork(1).unwrap());
            assert!(stream.join().unwrap() == numbers.as_bytes());
        });
    }
    // A copy of a copy that works, too.
    copies.extend(copies[0].fork(1).unwrap());
    for vm in copies.iter().chain([&vm]) {
        assert_alive(vm);
    }
    drop((loads, copies, vm));
    home.assert_nothing_left();
}

/// Every load gets on, and none has noticed anything.
fn assert_alive(vm: &Vm) {
    let script = "for load in disk timers floats; do
        was=$(cat /dev/shm/$load 2>/dev/null)
        until [ -s /dev/shm/$load ] && [ \"$(cat /dev/shm/$load)\" != \"$was\" ]; do usleep 2000; done
    done; cat /bad 2>/dev/null";
    let output = vm.exec(["sh", "-c", script]).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}
