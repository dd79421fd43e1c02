//! Networks with a name: VMs that find each other, and those that do not.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use testkit::internet::{Internet, SERVER};
use testkit::{Home, Processes};

/// Tells each client where it came from, takes what it sends to its end, and answers with a digest of it and as much
/// again. Datagrams come back in capitals.
const SERVE: &str = r#"
import hashlib, socket, threading
GIFT = bytes(range(256)) * 40960
def answer(client, where):
    client.sendall((where[0] + '\n').encode())
    digest = hashlib.sha256()
    while data := client.recv(1 << 16): digest.update(data)
    client.sendall(digest.hexdigest().encode()); client.sendall(GIFT); client.close()
def echo(sock):
    while True:
        data, where = sock.recvfrom(100); sock.sendto(data.upper(), where)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(('', 8000))
threading.Thread(target=echo, args=(datagrams,), daemon=True).start()
server = socket.create_server(('', 8000))
while True: threading.Thread(target=answer, args=server.accept(), daemon=True).start()
"#;

/// One line for each thing that is tried.
const TRY: &str = r#"
import errno, hashlib, socket, sys
GIFT = bytes(range(256)) * 40960
def dial(name, port):
    while True:
        try: return socket.create_connection((name, port), 60)
        # It may still be on its way to its port.
        except ConnectionRefusedError: pass
def speak(name):
    sock = dial(name, 8000)
    stream = sock.makefile('rb')
    where = stream.readline().decode().strip()
    sock.sendall(GIFT); sock.shutdown(socket.SHUT_WR)
    whole = stream.read(64).decode() == hashlib.sha256(GIFT).hexdigest()
    return f'seen as {where}, {whole} {stream.read() == GIFT}'
def connect(name): socket.create_connection((name, 9), 60)
def look(name): return socket.gethostbyname(name)
def datagram(name):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.settimeout(60)
    sock.connect((name, 8000)); sock.send(b'hello'); return sock.recv(100).decode()
def stray(name):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.settimeout(60)
    sock.connect((name, 9)); sock.send(b'hello'); return sock.recv(100)
def world(address):
    sock = socket.create_connection((address, 7), 60); sock.sendall(b'x'); return sock.recv(1).decode()
for word in sys.argv[1:]:
    act, name = word.split('/')
    try: print(word, globals()[act](name), flush=True)
    except socket.gaierror: print(word, 'unknown', flush=True)
    except OSError as error: print(word, errno.errorcode.get(error.errno, repr(error)), flush=True)
"#;

fn start(home: &Home, name: &str, flags: &[&str], program: &str) {
    let image = home.image("python3");
    let mut words = vec!["run", "-d", "--name", name, "--dns", SERVER];
    words.extend(flags);
    words.extend([&image, "python3", "-c", program]);
    home.run(words).ok();
}

/// What a VM that is there already sees.
fn expect(home: &Home, vm: &str, tries: &[(&str, &str)]) {
    let mut words = vec!["exec", vm, "python3", "-c", TRY];
    words.extend(tries.iter().map(|(word, _)| *word));
    let lines = tries.iter().map(|(word, seen)| format!("{word} {seen}\n"));
    assert_eq!(home.run(words).ok(), lines.collect::<String>(), "{vm}");
}

#[test]
fn members_of_a_network_find_each_other_and_nobody_else_finds_them() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    for network in ["inner", "outer"] {
        home.run(["network", "create", network]).ok();
    }
    let aliased = ["--network", "inner", "--network-alias", "cache"];
    start(&home, "near", &aliased, SERVE);
    // One that comes later is found by who was there before.
    expect(&home, "near", &[("look/far", "unknown")]);
    start(&home, "far", &["--network", "inner"], SERVE);
    expect(
        &home,
        "near",
        &[
            ("look/far", "198.18.1.2"),
            ("speak/far", "seen as 198.18.1.1, True True"),
            ("datagram/far", "HELLO"),
            // What the other guest's kernel says, then what nobody says.
            ("connect/far", "ECONNREFUSED"),
            ("stray/far", "ECONNREFUSED"),
            ("connect/198.18.1.77", "EHOSTUNREACH"),
            ("stray/198.18.1.77", "EHOSTUNREACH"),
            ("look/nobody", "unknown"),
            // The world is where it was, and private networks are not reached.
            ("world/www.example.com", "x"),
            ("connect/10.0.0.1", "ECONNREFUSED"),
        ],
    );
    expect(
        &home,
        "far",
        &[
            ("speak/near", "seen as 198.18.1.2, True True"),
            ("speak/cache", "seen as 198.18.1.2, True True"),
            ("datagram/198.18.1.1", "HELLO"),
        ],
    );
    start(&home, "other", &["--network", "outer"], SERVE);
    start(&home, "alone", &[], SERVE);
    for stranger in ["other", "alone"] {
        expect(
            &home,
            stranger,
            &[
                ("look/far", "unknown"),
                ("connect/198.18.1.2", "ECONNREFUSED"),
                ("datagram/198.18.1.2", "EHOSTUNREACH"),
            ],
        );
    }
    let format = "{{.HostConfig.NetworkMode}} {{.NetworkSettings.IPAddress}}";
    let seen = home.run(["inspect", "--format", format, "far", "other"]);
    assert_eq!(seen.ok(), "inner 198.18.1.2\nouter 198.18.2.1\n");
    let busy = home.run(["network", "rm", "inner"]);
    assert_eq!(busy.code, 125);
    assert!(busy.stderr.contains("in use by near"), "{}", busy.stderr);
    home.run(["rm", "-f", "near", "far", "other", "alone"]).ok();
    home.run(["network", "rm", "inner", "outer"]).ok();
    home.assert_nothing_left();
}

/// kill -9, until it is dead.
fn kill(process: Pid) {
    let pidfd = pidfd_open(process, PidfdFlags::empty()).unwrap();
    kill_process(process, Signal::KILL).unwrap();
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
}

/// Holds a connection to `far` and says what becomes of it and who it is then, and when it is told to, whether `far` is
/// found again.
const HOLD: &str = r#"
import os, socket
def own():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.connect(('93.184.216.34', 9))
    return probe.getsockname()[0]
def dial():
    while True:
        try: return socket.create_connection(('far', 8000))
        except ConnectionRefusedError: pass
held = dial()
assert held.makefile('rb').readline().decode().strip() == own()
os.mkfifo('/tmp/go'); os.mkfifo('/tmp/held')
open('/tmp/held', 'w').close()
try: print('ended', held.recv(1))
except ConnectionResetError: print('reset')
print(own(), flush=True)
open('/tmp/go').close()
print('seen as', dial().makefile('rb').readline().decode().strip(), flush=True)
"#;

#[test]
fn a_member_that_is_killed_or_copied_leaves_its_address_to_who_comes_next() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    home.run(["network", "create", "inner"]).ok();
    start(&home, "far", &["--network", "inner"], SERVE);
    let vmm = Processes::of_this_test().vmms();
    start(&home, "near", &["--network", "inner"], HOLD);
    let held = "until [ -p /tmp/held ]; do :; done; cat /tmp/held";
    home.run(["exec", "near", "sh", "-c", held]).ok();
    let go = |vm: &str| {
        home.run(["exec", vm, "sh", "-c", ": > /tmp/go"]).ok();
        home.run(["wait", vm]).ok();
        home.run(["logs", vm]).ok().to_owned()
    };
    // The copy has an address of its own, and the connection is not its.
    let copy = home.run(["fork", "near"]).ok().trim_end().to_owned();
    assert_eq!(go(&copy), "reset\n198.18.1.3\nseen as 198.18.1.3\n");
    // Its kernel has no time to say anything.
    vmm.into_iter().for_each(kill);
    let mut logs = home.cli(["logs", "-f", "near"]).start();
    assert_eq!(logs.line(), "reset");
    assert_eq!(logs.line(), "198.18.1.2");
    home.run(["wait", "far"]);
    home.run(["start", "far"]).ok();
    home.run(["exec", "near", "sh", "-c", ": > /tmp/go"]).ok();
    assert_eq!(logs.line(), "seen as 198.18.1.2");
    logs.finish();
    let seen = home.run([
        "inspect",
        "--format",
        "{{.NetworkSettings.IPAddress}}",
        "far",
    ]);
    assert_eq!(seen.ok(), "198.18.1.1\n");
    // Who killed the supervisor has killed the VM, and nothing of it is a member any more.
    let pid = home.run(["inspect", "--format", "{{.State.Pid}}", "far"]);
    kill(Pid::from_raw(pid.ok().trim_end().parse().unwrap()).unwrap());
    let members = home.run(["network", "ls"]).ok().to_owned();
    assert!(!members.contains("far"), "{members}");
    home.run(["rm", "-f", "far", "near", &copy]).ok();
    home.run(["network", "prune"]).ok();
    assert_eq!(home.run(["network", "ls", "-q"]).ok(), "");
    home.assert_nothing_left();
}
