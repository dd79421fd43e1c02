//! `cp`, as a user types it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use testkit::Home;

#[test]
fn cp_and_tar_streams_do_as_dockers() {
    let home = Home::new();
    let here = |name: &str| home.scratch().join(name);
    let local = |name: &str| here(name).to_str().unwrap().to_owned();
    home.run([
        "run",
        "-d",
        "--name",
        "box",
        &home.image("busybox"),
        "sleep",
        "1000",
    ])
    .ok();
    fs::create_dir(here("d")).unwrap();
    fs::write(here("d/f"), "text").unwrap();
    chown(here("d/f"), Some(12), Some(34)).unwrap();

    home.run(["cp", &local("d"), "box:/new"]).ok();
    home.run(["cp", "-a", &local("d"), "box:new/"]).ok();
    home.run(["cp", &local("d/."), "box:/tmp"]).ok();
    let look = "cd /; stat -c '%n %u' new/f new/d/f tmp/f; ln -s new link";
    let seen = home.run(["exec", "box", "sh", "-c", look]);
    assert_eq!(seen.ok(), "new/f 0\nnew/d/f 12\ntmp/f 0\n");

    home.run(["cp", "box:/new/f", &local("copy")]).ok();
    assert_eq!(fs::read_to_string(here("copy")).unwrap(), "text");
    home.run(["cp", "-a", "box:/new/d/f", &local("copy")]).ok();
    assert_eq!(fs::metadata(here("copy")).unwrap().uid(), 12);
    home.run(["cp", "box:/link", &local("link")]).ok();
    assert_eq!(fs::read_link(here("link")).unwrap().to_str(), Some("new"));
    home.run(["cp", "-L", "box:/link", &local("followed")]).ok();
    assert_eq!(fs::read_to_string(here("followed/d/f")).unwrap(), "text");

    let archive = home.run(["cp", "box:/new", "-"]);
    assert_eq!(archive.code, 0, "{}", archive.stderr);
    let back = home
        .cli(["cp", "-", "box:/tmp"])
        .output_with_input(&archive.stdout);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(
        home.run(["exec", "box", "cat", "/tmp/new/d/f"]).ok(),
        "text"
    );

    for (words, message) in [
        (["cp", "box:/nope", "."], "/nope: No such file or directory"),
        (["cp", "box:/nope", "-"], "/nope: No such file or directory"),
        (["cp", &local("nope"), "box:/"], "No such file or directory"),
        (
            ["cp", &local("copy"), "box:/no/where"],
            "there is no directory /no",
        ),
        (
            ["cp", &local("d"), "box:/etc/passwd"],
            "/etc/passwd is not a directory",
        ),
        (["cp", "a", "b"], "neither side is in a VM"),
        (
            ["cp", "box:/a", "box:/b"],
            "copying between VMs is not supported",
        ),
        (["cp", "other:/a", "b"], "no such VM: other"),
    ] {
        let out = home.run(words);
        assert!(
            out.code == 125 && out.stderr.contains(message),
            "{words:?}: {}",
            out.stderr
        );
    }
    let cut = home
        .cli(["cp", "-", "box:/tmp"])
        .output_with_input(&archive.stdout[..1000]);
    assert!(
        cut.code == 125 && cut.stderr.contains("cut short"),
        "{}",
        cut.stderr
    );
    home.run(["rm", "-f", "box"]).ok();
    home.assert_nothing_left();
}
