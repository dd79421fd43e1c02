//! Images with next to nothing in them, and people without a home.

use testkit::Home;

#[test]
fn without_shell_etc_tmp_and_passwd_an_image_runs_is_looked_into_and_stopped() {
    let home = Home::new();
    let image = home.image("static");
    let names = |out: &testkit::Output| -> Vec<String> {
        let lines = out
            .ok()
            .lines()
            .map(|line| line.split(' ').next().unwrap().to_owned());
        lines.filter(|name| !name.contains('/')).collect()
    };
    // Mount points and /etc are made; nothing else is.
    let made = ["dev", "etc", "proc", "run", "sys", "testbox", "tmp"];
    for flags in [&["run", "--rm"][..], &["run", "--rm", "--read-only"]] {
        let out = home.run([flags, &[&image, "tree", "/"]].concat());
        let mut found = names(&out);
        found.retain(|name| name != "." && !name.is_empty());
        assert_eq!(found, made, "{}", out.text());
    }
    let who = home.run([
        "run",
        "--rm",
        "-u",
        "1000:2000",
        "-w",
        "/made/for/it",
        &image,
        "whoami",
    ]);
    assert_eq!(who.ok(), "uid=1000 gid=2000 groups=[] cwd=/made/for/it\n");
    let out = home.run(["run", "--rm", "-u", "somebody", &image, "whoami"]);
    assert!(
        out.code == 126 && out.stderr.contains("somebody"),
        "{} {}",
        out.code,
        out.stderr
    );
    let out = home.run(["run", "--rm", "--entrypoint", "sh", &image]);
    assert!(
        out.code == 127 && out.stderr.contains("sh: not found in PATH"),
        "{} {}",
        out.code,
        out.stderr
    );

    home.run(["run", "-d", "--name", "bare", "-i", &image, "cat"])
        .ok();
    assert_eq!(
        home.run(["exec", "bare", "/testbox", "argv", "beside"])
            .ok(),
        "beside\n"
    );
    let copy = home.scratch().join("testbox");
    home.run(["cp", "bare:/testbox", copy.to_str().unwrap()])
        .ok();
    assert!(copy.metadata().unwrap().len() > 100_000);
    home.run(["stop", "bare"]).ok();
    home.run(["rm", "bare"]).ok();
    home.assert_nothing_left();
}

#[test]
fn a_user_without_a_home_has_the_root_for_one_as_under_docker() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "echo $HOME $USER; cd && pwd; id -u; touch /tmp/mine && echo written";
    let out = home.run(["run", "--rm", "-u", "4242", &image, "sh", "-c", script]);
    assert_eq!(out.ok(), "/ 4242\n/\n4242\nwritten\n");
    // Its home is in passwd, but nowhere else.
    let script = "echo $HOME; cd 2>&1; pwd";
    let add = "echo 'ghost:x:77:77::/home/ghost:/bin/sh' >> /etc/passwd; echo ready; while :; do sleep 1; done";
    home.run(["run", "-d", "--name", "vm", &image, "sh", "-c", add])
        .ok();
    let mut log = home.cli(["logs", "-f", "vm"]).start();
    assert_eq!(log.line(), "ready");
    let out = home.run(["exec", "-u", "ghost", "vm", "sh", "-c", script]);
    assert_eq!(
        out.ok(),
        "/home/ghost\nsh: cd: line 0: can't cd to /home/ghost: No such file or directory\n/\n"
    );

    // A program for 32-bit x86 and nothing else: an ELF header.
    let header = r"printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0\002\0\003\0\001\0\0\0\0\0\0\0\064\0\0\0' > /old; chmod +x /old";
    home.run(["exec", "vm", "sh", "-c", header]).ok();
    let out = home.run(["exec", "vm", "/old"]);
    assert_eq!(out.code, 126, "{}", out.stderr);
    assert!(
        out.stderr
            .contains("/old: a program for 32-bit x86, and only 64-bit x86 programs run here"),
        "{}",
        out.stderr
    );
    home.run(["rm", "-f", "vm"]).ok();
    home.assert_nothing_left();
}
