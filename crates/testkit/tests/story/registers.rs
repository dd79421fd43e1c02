//! A program that holds a known value in every register goes through snapshots and forks.

use testkit::Home;

/// Copies of copies in one chain.
const LINKS: usize = 8;

/// Copies a VM, by a snapshot or by a fork, and returns the copy's name.
fn copy(home: &Home, original: &str, link: usize) -> String {
    if link % 2 == 1 {
        return home.run(["fork", original]).ok().trim().to_owned();
    }
    let (snapshot, name) = (format!("snapshot{link}"), format!("copy{link}"));
    home.run(["snapshot", "create", original, "--name", &snapshot])
        .ok();
    home.run(["run", "-d", "--name", &name, "--snapshot", &snapshot])
        .ok();
    name
}

#[test]
fn every_register_and_timer_survives_copies_of_copies() {
    let home = Home::new();
    let image = home.image("registers");
    home.run(["run", "-d", "--name", "original", &image]).ok();
    let mut vms = vec!["original".to_owned()];
    for link in 0..LINKS {
        let name = copy(&home, &vms[link], link);
        vms.push(name);
    }
    for vm in &vms {
        // Asked to end, it looks once more and exits with 0 if nothing ever changed.
        home.run(["stop", vm]).ok();
        let log = home.run(["logs", vm]);
        assert_eq!(home.run(["wait", vm]).ok().trim(), "0", "{}", log.text());
        let last = log.text().lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("ok "), "{vm}: {}", log.text());
    }
}
