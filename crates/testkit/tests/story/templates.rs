//! No kernel is booted for an image, seen before or not.

use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::{Home, Output};

/// What PID 1 writes first when a kernel was booted.
const FIRST_LINE: &str = "supermachine: init";

const PREPARING: &str = "preparing a template for 512 MiB, 1 vCPU (once)";

/// Directories of templates, half-made ones too.
fn templates(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path().join("templates")).unwrap();
    let dirs = entries.map(|entry| entry.unwrap().path());
    dirs.filter(|path| path.is_dir()).collect()
}

fn hello(home: &Home) -> Output {
    home.run(["run", "--rm", &home.image("busybox"), "echo", "hello"])
}

fn console(home: &Home, vm: &str) -> String {
    fs::read_to_string(home.path().join("vms").join(vm).join("console.log")).unwrap()
}

#[test]
fn an_image_never_run_before_starts_without_booting_a_kernel() {
    let home = Home::new();
    let first = hello(&home);
    assert_eq!(first.ok(), "hello\n");
    assert!(first.stderr.contains(PREPARING), "{}", first.stderr);

    let redis = home.image("redis");
    home.run(["pull", &redis]).ok();
    let out = home.run(["run", "--name", "new", &redis, "echo", "new"]);
    assert_eq!((out.ok(), out.stderr.as_str()), ("new\n", ""));
    assert_eq!(console(&home, "new"), "");

    home.run(["run", "--name", "cold", "--cold-boot", &redis, "true"])
        .ok();
    assert!(console(&home, "cold").contains(FIRST_LINE));
    assert_eq!(templates(&home).len(), 1);
    home.assert_nothing_left();
}

#[test]
fn eight_processes_that_need_the_same_template_at_once_make_one() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["pull", &image]).ok();
    let running: Vec<_> = (0..8)
        .map(|number| {
            home.cli(["run", "--rm", &image, "echo", &number.to_string()])
                .start()
        })
        .collect();
    let outs: Vec<_> = running.into_iter().map(|run| run.finish()).collect();
    for (number, out) in outs.iter().enumerate() {
        assert_eq!(out.ok(), format!("{number}\n"));
    }
    let makers = outs.iter().filter(|out| out.stderr.contains(PREPARING));
    assert_eq!(makers.count(), 1);
    assert_eq!(templates(&home).len(), 1);
    home.assert_nothing_left();
}

#[test]
fn makers_that_are_killed_at_any_point_leave_nothing_the_next_one_does_not_remove() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["pull", &image]).ok();
    for milliseconds in (5..=200).step_by(15) {
        let run = home.cli(["run", "--rm", &image, "true"]).start();
        // Wherever it is by then; it may have finished.
        run.ends_within(Duration::from_millis(milliseconds));
        run.signal(Signal::KILL);
        run.finish();
        for template in templates(&home) {
            let name = template.file_name().unwrap().to_owned();
            if !name.as_encoded_bytes().starts_with(b".") {
                fs::remove_dir_all(template).unwrap();
            }
        }
    }
    home.assert_nothing_runs();
    assert_eq!(hello(&home).ok(), "hello\n");
    assert_eq!(templates(&home).len(), 1);
}

#[test]
fn a_damaged_template_is_made_again() {
    let home = Home::new();
    hello(&home).ok();
    let template = templates(&home).remove(0);
    let flip = |content: &mut Vec<u8>, at: usize| content[at] ^= 1;
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damages: [(&str, Damage<'_>); 6] = [
        ("manifest.json", &|content| flip(content, content.len() / 2)),
        ("manifest.json", &|content| content.truncate(100)),
        ("state", &|content| flip(content, content.len() / 2)),
        ("state", &|content| content.truncate(content.len() / 2)),
        // The end of the table of what is in memory.
        ("memory", &|content| flip(content, content.len() - 1)),
        ("memory", &|content| content.truncate(content.len() / 2)),
    ];
    for (name, damage) in damages {
        let path = template.join(name);
        let mut content = fs::read(&path).unwrap();
        damage(&mut content);
        fs::write(&path, content).unwrap();
        let out = hello(&home);
        assert_eq!(out.ok(), "hello\n", "{name}");
        assert!(out.stderr.contains(PREPARING), "{name}: {}", out.stderr);
        assert_eq!(hello(&home).stderr, "", "{name}");
    }
    assert_eq!(templates(&home), [template]);
    home.assert_nothing_left();
}

#[test]
fn a_template_that_somebody_else_may_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    hello(&home).ok();
    let template = templates(&home).remove(0);
    fs::set_permissions(&template, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(hello(&home).stderr.contains(PREPARING));
}

#[test]
fn guest_06_vms_of_one_template_share_no_identity_and_know_what_time_it_is() {
    let home = Home::new();
    hello(&home).ok();
    let script = "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid /proc/sys/kernel/hostname; \
                  head -c 16 /dev/urandom | od -An -tx1; date +%s";
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let vms: Vec<Vec<String>> = (0..2)
        .map(|_| {
            let before = now().as_secs();
            let out = home.run(["run", "--rm", &home.image("busybox"), "sh", "-c", script]);
            let mut lines: Vec<_> = out.ok().lines().map(str::to_owned).collect();
            let told: u64 = lines.pop().unwrap().parse().unwrap();
            assert!((before..=now().as_secs()).contains(&told), "{told}");
            lines
        })
        .collect();
    assert_eq!(vms[0].len(), 4);
    for (a, b) in vms[0].iter().zip(&vms[1]) {
        assert_ne!(a, b);
    }
}

#[test]
fn a_disk_is_as_big_as_was_asked_whatever_the_template_had() {
    let home = Home::new();
    hello(&home).ok();
    for (size, least, most) in [("64M", 40 << 10, 64 << 10), ("30G", 28 << 20, 30 << 20)] {
        let out = home.run([
            "run",
            "--rm",
            "--disk-size",
            size,
            &home.image("busybox"),
            "sh",
            "-c",
            "df -k / | awk 'NR == 2 { print $2 }'; dd if=/dev/zero of=/file bs=1M count=8 2>&1 | head -1",
        ]);
        let (kib, written) = out.ok().split_once('\n').unwrap();
        let kib: u64 = kib.parse().unwrap();
        assert!((least..=most).contains(&kib), "{size}: {kib} KiB");
        assert!(written.contains("8+0"), "{written}");
    }
}

#[test]
fn without_room_for_a_template_the_vm_boots_and_says_why() {
    let home = Home::with_disk_of(24 << 20);
    let out = hello(&home);
    assert_eq!(out.ok(), "hello\n");
    assert!(
        out.stderr.contains("booting without a template") && out.stderr.contains("No space left"),
        "{}",
        out.stderr
    );
    assert!(templates(&home).is_empty());
    home.assert_nothing_left();
}

#[test]
fn useless_templates_are_pruned_and_df_shows_them() {
    let home = Home::new();
    hello(&home).ok();
    let template = templates(&home).remove(0);
    let json: serde_json::Value = serde_json::from_str(home.run(["df", "--json"]).ok()).unwrap();
    let row = json
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["type"] == "templates");
    assert_eq!(row.unwrap()["count"], 1);
    home.run(["prune"]).ok();
    assert_eq!(templates(&home), std::slice::from_ref(&template));
    // What cannot be read is of no use to anybody.
    fs::write(template.join("manifest.json"), "{}").unwrap();
    home.run(["prune"]).ok();
    assert!(templates(&home).is_empty());
}

#[test]
fn guest_15_a_vm_that_is_kept_on_failure_can_be_looked_into() {
    let home = Home::new();
    hello(&home).ok();
    let image = home.image("busybox");
    let run = home
        .cli([
            "run",
            "--rm",
            "--keep-on-failure",
            "--name",
            "kept",
            &image,
            "/no/such/program",
        ])
        .start();
    // The name answers as soon as the start has failed.
    let looked = loop {
        let out = home.run(["exec", "kept", "echo", "inside"]);
        if out.code == 0 {
            break out;
        }
        assert!(
            !run.ends_within(Duration::from_millis(20)),
            "{}",
            out.stderr
        );
    };
    assert_eq!(looked.ok(), "inside\n");
    home.run(["stop", "-t", "0", "kept"]).ok();
    let out = run.finish();
    assert_eq!(out.code, 127);
    assert!(out.stderr.contains("/no/such/program"), "{}", out.stderr);
    assert!(out.stderr.contains("the VM kept is kept"), "{}", out.stderr);
    home.assert_nothing_left();
}
