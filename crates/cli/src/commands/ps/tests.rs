use super::*;
use std::time::{Duration, UNIX_EPOCH};
use supermachine::Exit;

const NOW: u64 = 1_700_000_000;

fn ago(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW - seconds)
}

fn row(name: &str, image: &str, command: &[&str], status: VmStatus) -> Row {
    Row {
        name: name.into(),
        id: "0123456789abcdef".repeat(4),
        image: image.into(),
        image_digest: format!("sha256:{}", "ab".repeat(32)),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        created: ago(600),
        status,
        memory: 512 << 20,
        cpus: 1,
        ports: match name {
            "web" => PortMapping::parse("8080:80").unwrap(),
            _ => Vec::new(),
        },
        warnings: Vec::new(),
        labels: BTreeMap::new(),
        restarts: 0,
        health: None,
    }
}

fn exited(status: ExitStatus) -> VmStatus {
    let exit = Exit {
        status,
        duration_us: 1,
        max_rss_kib: 2,
        timed_out: false,
        out_of_memory: false,
    };
    VmStatus::Exited { exit, at: ago(120) }
}

fn rows() -> Vec<Row> {
    let failed = VmStatus::Failed {
        message: "supermachine-vmm was killed".into(),
        at: ago(3),
    };
    vec![
        row(
            "web",
            "docker.io/library/nginx",
            &["nginx", "-g", "daemon off;"],
            VmStatus::Running { since: ago(300) },
        ),
        row(
            "job",
            "oci:/a/rather/long/path/to/an/image/layout",
            &["sh", "-c", "exit 3"],
            exited(ExitStatus::Code(3)),
        ),
        row(
            "killed",
            "alpine",
            &["sleep", "1000"],
            exited(ExitStatus::Signal(9)),
        ),
        row(
            "evil",
            "alpine",
            &["echo", "\x1b[2J"],
            VmStatus::Stopped { at: ago(60) },
        ),
        row("new", "alpine", &[], VmStatus::Starting),
        row("lost", "alpine", &["x"], VmStatus::Crashed),
        row("broken", "alpine", &["x"], failed),
    ]
}

#[test]
fn the_table_is_frozen() {
    insta::assert_snapshot!(table(&rows(), WIDTH, UNIX_EPOCH + Duration::from_secs(NOW)), @r"
    NAME     IMAGE                                  COMMAND                CREATED          STATUS                                              PORTS
    web      docker.io/library/nginx                nginx -g daemon off;   10 minutes ago   Up 5 minutes                                        127.0.0.1:8080->80/tcp
    job      oci:/a/rather/long/path/to/an/image…   sh -c exit 3           10 minutes ago   Exited (3) 2 minutes ago
    killed   alpine                                 sleep 1000             10 minutes ago   Killed (SIGKILL) 2 minutes ago
    evil     alpine                                 echo \u{1b}[2J         10 minutes ago   Stopped 60 seconds ago
    new      alpine                                                        10 minutes ago   Starting
    lost     alpine                                 x                      10 minutes ago   Crashed
    broken   alpine                                 x                      10 minutes ago   Failed 3 seconds ago: supermachine-vmm was killed
    ");
}

#[test]
fn nothing_to_list_is_a_heading() {
    insta::assert_snapshot!(table(&[], WIDTH, UNIX_EPOCH), @"NAME   IMAGE   COMMAND   CREATED   STATUS   PORTS");
}

#[test]
fn the_json_is_frozen() {
    let rows = rows();
    let json: Vec<_> = [&rows[0], &rows[1]].into_iter().map(Json::from).collect();
    insta::assert_snapshot!(json::render(&json).unwrap(), @r#"
    [
      {
        "name": "web",
        "id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image": "docker.io/library/nginx",
        "image_digest": "sha256:abababababababababababababababababababababababababababababababab",
        "command": [
          "nginx",
          "-g",
          "daemon off;"
        ],
        "created": "2023-11-14T22:03:20.000000000Z",
        "state": "running",
        "started": "2023-11-14T22:08:20.000000000Z",
        "ended": null,
        "exit_code": null,
        "timed_out": false,
        "out_of_memory": false,
        "error": null,
        "memory": 536870912,
        "cpus": 1,
        "ports": [
          "127.0.0.1:8080->80/tcp"
        ],
        "warnings": [],
        "labels": {},
        "restarts": 0,
        "health": null
      },
      {
        "name": "job",
        "id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image": "oci:/a/rather/long/path/to/an/image/layout",
        "image_digest": "sha256:abababababababababababababababababababababababababababababababab",
        "command": [
          "sh",
          "-c",
          "exit 3"
        ],
        "created": "2023-11-14T22:03:20.000000000Z",
        "state": "exited",
        "started": null,
        "ended": "2023-11-14T22:11:20.000000000Z",
        "exit_code": 3,
        "timed_out": false,
        "out_of_memory": false,
        "error": null,
        "memory": 536870912,
        "cpus": 1,
        "ports": [],
        "warnings": [],
        "labels": {},
        "restarts": 0,
        "health": null
      }
    ]
    "#);
}

#[test]
fn every_state_has_its_word() {
    let states: Vec<_> = rows().iter().map(|row| state(&row.status)).collect();
    assert_eq!(
        states,
        [
            "running", "exited", "exited", "stopped", "starting", "crashed", "failed"
        ]
    );
}
