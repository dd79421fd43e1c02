//! Other people, other places, several at once, and machines that cannot.

use std::thread;
use testkit::{Home, Kvm, Person};

#[test]
fn an_unprivileged_member_of_the_group_runs_everything() {
    let home = Home::of(Person::Unprivileged(Kvm::Permitted));
    let image = home.image("busybox");
    assert_eq!(home.run(["run", "--rm", &image, "id", "-u"]).ok(), "0\n");
    home.run(["run", "-d", "--name", "job", &image, "sleep", "1000"])
        .ok();
    assert_eq!(home.run(["exec", "job", "echo", "inside"]).ok(), "inside\n");
    home.run(["rm", "-f", "job"]).ok();
    home.assert_nothing_left();
}

#[test]
fn the_awkward_image_runs_for_an_unprivileged_person() {
    let home = Home::of(Person::Unprivileged(Kvm::Permitted));
    let out = home.run(["run", "--rm", &home.image("awkward"), "whoami"]);
    assert_eq!(
        out.ok(),
        "uid=1234 gid=2345 groups=[] cwd=/srv/not there/yet\n"
    );
}

#[test]
fn without_permission_the_error_names_the_device_and_what_to_do() {
    let home = Home::of(Person::Unprivileged(Kvm::Forbidden));
    let out = home.run(["run", "--rm", &home.image("busybox"), "true"]);
    assert_eq!(out.code, 125);
    assert!(
        out.stderr.contains("/dev/kvm") && out.stderr.contains("group"),
        "{}",
        out.stderr
    );
    home.assert_nothing_left();
}

#[test]
fn without_kvm_the_error_says_so() {
    let home = Home::of(Person::Unprivileged(Kvm::Absent));
    let out = home.run(["run", "--rm", &home.image("busybox"), "true"]);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("/dev/kvm"), "{}", out.stderr);
    home.assert_nothing_left();
}

#[test]
fn doctor_fails_without_kvm_and_passes_with_it() {
    assert_eq!(Home::new().run(["doctor"]).code, 0);
    assert_ne!(
        Home::of(Person::Unprivileged(Kvm::Absent))
            .run(["doctor"])
            .code,
        0
    );
}

#[test]
fn a_home_of_200_bytes_works() {
    let home = Home::with_long_path();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "job", &image, "sleep", "1000"])
        .ok();
    assert_eq!(home.run(["exec", "job", "echo", "inside"]).ok(), "inside\n");
    home.run(["rm", "-f", "job"]).ok();
    home.assert_nothing_left();
}

#[test]
fn two_first_runs_of_one_image_at_once_both_work() {
    let home = Home::new();
    let image = home.image("python3");
    thread::scope(|scope| {
        for number in ["1", "2"] {
            let (home, image) = (&home, &image);
            scope.spawn(move || {
                let out = home.run(["run", "--rm", image, "echo", number]);
                assert_eq!(out.ok().trim(), number);
            });
        }
    });
    home.assert_nothing_left();
}

#[test]
fn of_two_vms_with_one_name_the_second_is_refused() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "job", &image, "sleep", "1000"])
        .ok();
    let second = home.run(["run", "-d", "--name", "job", &image, "true"]);
    assert_eq!(second.code, 125);
    assert!(second.stderr.contains("job"), "{}", second.stderr);
    home.run(["rm", "-f", "job"]).ok();
}

#[test]
fn a_full_disk_is_one_clear_line_and_leaves_nothing_half_done() {
    let home = Home::with_disk_of(4 << 20);
    let out = home.run(["run", "--rm", &home.image("python3"), "true"]);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
    assert_eq!(home.run(["images", "-q"]).ok(), "");
    home.assert_nothing_left();
}
