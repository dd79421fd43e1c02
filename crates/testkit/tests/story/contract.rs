//! Points of what a guest promises that no other story is about; each test is named after its point.

use std::path::PathBuf;
use std::process::Command;
use testkit::Home;

/// What a script prints in a VM of its own.
#[track_caller]
fn sh(home: &Home, flags: &[&str], script: &str) -> String {
    let image = home.image("busybox");
    let words = [&["run", "--rm"], flags, &[&image, "sh", "-ec", script]].concat();
    home.run(words).ok().to_owned()
}

#[test]
fn guest_02_the_kernels_file_systems_are_where_programs_look_for_them() {
    let home = Home::new();
    let script = r#"
        awk '$1 != "overlay" { print $2, $3 }' /proc/mounts | sort
        for link in fd stdin stdout stderr; do readlink /dev/$link; done
        stat -c '%n %a' /dev/pts/ptmx /dev/shm /run /run/dbus /tmp /tmp/.X11-unix
        df /dev/shm | awk 'END { print $2 }'
        cat /sys/fs/cgroup/cgroup.controllers"#;
    let out = sh(&home, &["-t"], script).replace('\r', "");
    assert_eq!(
        out,
        "/dev devtmpfs\n/dev/mqueue mqueue\n/dev/pts devpts\n/dev/shm tmpfs\n/proc proc\n/run tmpfs\n/sys sysfs\n\
         /sys/fs/cgroup cgroup2\n/tmp tmpfs\n\
         /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n\
         /dev/pts/ptmx 666\n/dev/shm 1777\n/run 755\n/run/dbus 755\n/tmp 1777\n/tmp/.X11-unix 1777\n65536\n\
         cpu io memory pids\n"
    );
}

/// glibc hides every IPv4 answer from a machine that has no address but the loopback's.
#[test]
fn guest_03_there_is_a_loopback_and_another_interface_with_an_address() {
    let home = Home::new();
    let script = r#"
        ip addr show lo | grep -q 'UP' && ip addr show lo | grep -o 'inet 127.0.0.1/8'
        ip -4 addr | awk '/^[0-9]/ { name = $2; up = /[<,]UP[,>]/ } /inet / && name != "lo:" { print up }' | sort -u"#;
    assert_eq!(sh(&home, &[], script), "inet 127.0.0.1/8\n1\n");
}

#[test]
fn guest_04_any_user_listens_on_port_80_and_uses_fuse_and_tunnels() {
    let home = Home::new();
    let script = r#"
        nc -l -p 80 -e echo hello & n=$!
        until grep -q ':0050 ' /proc/net/tcp /proc/net/tcp6; do kill -0 $n; done
        nc 127.0.0.1 80; wait $n
        for device in fuse net/tun; do true <> /dev/$device && echo $device; done
        ulimit -Sn; ulimit -Hn; ulimit -u
        cat /proc/sys/vm/max_map_count /proc/sys/net/ipv4/ping_group_range"#;
    assert_eq!(
        sh(&home, &["-u", "1234:5678"], script),
        "hello\nfuse\nnet/tun\n1024\n1048576\nunlimited\n1048576\n0\t4294967294\n"
    );
}

#[test]
fn guest_08_hosts_and_name_are_added_and_the_rest_of_etc_is_left_alone() {
    let home = Home::new();
    let image = home.image("busybox");
    let show = "hostname; cat /etc/hostname; grep -c localhost /etc/hosts; grep -c box /etc/hosts; grep mine /etc/hosts";
    let work = format!("grep -q mine /etc/hosts || echo '10.9.8.7 mine' >> /etc/hosts; {show}");
    let flags = ["run", "--name", "keeps", "--hostname", "box", &image];
    let first = home.run([&flags[..], &["sh", "-c", &work]].concat());
    assert_eq!(first.ok(), "box\nbox\n1\n1\n10.9.8.7 mine\n");
    // The next life finds the names there, and what somebody else wrote.
    home.run(["start", "keeps"]).ok();
    assert_eq!(home.run(["wait", "keeps"]).ok(), "0\n");
    let log = home.run(["logs", "keeps"]);
    assert_eq!(
        log.ok().lines().skip(5).collect::<Vec<_>>(),
        first.text().lines().collect::<Vec<_>>()
    );
    home.run(["rm", "keeps"]).ok();
}

#[test]
fn guest_12_the_workload_is_a_child_of_an_init_or_the_first_process_itself() {
    let home = Home::new();
    // The agent is in neither list.
    let script = "echo $$; set -- /proc/[0-9]*; echo $#; cat /proc/1/comm /proc/self/cgroup; true";
    assert_eq!(sh(&home, &[], script), "2\n2\ninit\n0::/\n");
    assert_eq!(sh(&home, &["--init=false"], script), "1\n1\nsh\n0::/\n");
}

/// By a user and by root: nobody listens but to the host, nothing of the agent can be seen, and the host takes no calls.
#[test]
fn guest_21_no_process_inside_reaches_the_agent() {
    let home = Home::new();
    let script = r#"
import errno, os, socket
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()) == [1, os.getpid()])
for cid in (0, 1, 2, 3, 4, socket.VMADDR_CID_ANY):
    for port in (1024, 1, 1025):
        peer = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        peer.settimeout(20)
        try:
            peer.connect((cid, port))
            print("connected to", cid, port)
        except OSError:
            pass
server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
try:
    server.bind((socket.VMADDR_CID_ANY, 1024))
    print("the agent's port is free")
except OSError as error:
    print(errno.errorcode[error.errno])
"#;
    for user in ["0", "1234"] {
        let out = home.run([
            "run",
            "--rm",
            "-u",
            user,
            &home.image("python3"),
            "python3",
            "-c",
            script,
        ]);
        assert_eq!(out.ok(), "True\nEADDRINUSE\n", "{user}: {}", out.stderr);
    }
}

/// Written without a sync of its own, by a workload that ends and by one that is stopped.
#[test]
fn guest_14_disks_are_whole_when_the_machine_is_off() {
    let home = Home::new();
    let image = home.image("busybox");
    let numbers: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    let write = "seq 1 200000 > /data/$0; [ $0 = ended ] && exit 3; \
                 trap 'echo last > /data/last; exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    let work = |name: &'static str| {
        ["-v", "data:/data", &image, "sh", "-c", write, name].map(str::to_owned)
    };
    let run = |flags: &[&str], name| -> Vec<String> {
        flags
            .iter()
            .map(|&flag| flag.to_owned())
            .chain(work(name))
            .collect()
    };
    assert_eq!(home.run(run(&["run", "--rm"], "ended")).code, 3);
    home.run(run(&["run", "-d", "--name", "writer"], "stopped"))
        .ok();
    let mut log = home.cli(["logs", "-f", "writer"]).start();
    assert_eq!(log.line(), "ready");
    home.run(["stop", "writer"]).ok();
    assert_eq!(home.run(["wait", "writer"]).ok(), "4\n");
    let disk = volume(&home);
    for (file, contents) in [
        ("/ended", &*numbers),
        ("/stopped", &*numbers),
        ("/last", "last\n"),
    ] {
        let out = Command::new("debugfs")
            .arg("-R")
            .arg(format!("cat {file}"))
            .arg(&disk)
            .output()
            .unwrap();
        assert!(
            out.stdout == contents.as_bytes(),
            "{file}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let check = Command::new("e2fsck")
        .arg("-fn")
        .arg(&disk)
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    home.run(["rm", "writer"]).ok();
    home.assert_nothing_left();
}

/// The file of the only volume.
fn volume(home: &Home) -> PathBuf {
    let files = testkit::files::list(&home.path().join("volumes"));
    let is_disk = |path: &&PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.len() > 1 << 20)
    };
    files
        .iter()
        .find(is_disk)
        .expect("a volume is a file")
        .clone()
}
