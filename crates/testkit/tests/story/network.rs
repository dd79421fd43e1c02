//! The network of a VM, between real stacks: Linux in the guest, Linux on the host, ours in between.

use testkit::Home;
use testkit::internet::{HOST, HOST_V6, Internet, SERVER, SERVER_V6};

/// What a workload sees of the world: one line for each thing it tries.
const TRY: &str = r#"
import errno, hashlib, socket, sys
def tried(family, kind, address, port, act):
    sock = socket.socket(family, kind)
    sock.settimeout(30)
    try:
        sock.connect((address, port))
        return act(sock)
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
def tcp(sock):
    sock.sendall(b'x' * 100000); sock.shutdown(socket.SHUT_WR)
    back = b''
    while data := sock.recv(65536): back += data
    return '%d bytes back, %s' % (len(back), back[-7:].decode())
def gift(sock):
    digest, count = hashlib.sha256(), 0
    while data := sock.recv(1 << 20): digest.update(data); count += len(data)
    return '%d bytes, %s' % (count, digest.hexdigest() == hashlib.sha256(bytes(range(256)) * 32768).hexdigest())
def udp(sock):
    sock.send(b'hello'); return sock.recv(100).decode()
for word in sys.argv[1:]:
    how, address, port = word.split('/')
    family = socket.AF_INET6 if how.endswith('6') else socket.AF_INET
    act = globals()[how.rstrip('6')]
    kind = socket.SOCK_DGRAM if act is udp else socket.SOCK_STREAM
    print(word, tried(family, kind, address, int(port), act), flush=True)
"#;

fn expect(home: &Home, flags: &[&str], tries: &[(&str, &str)]) {
    let image = home.image("python3");
    let mut words = vec!["run", "--rm", "--dns", SERVER];
    words.extend(flags);
    words.extend([&image, "python3", "-c", TRY]);
    words.extend(tries.iter().map(|(word, _)| *word));
    let lines = tries
        .iter()
        .map(|(word, outcome)| format!("{word} {outcome}\n"));
    assert_eq!(home.run(words).ok(), lines.collect::<String>());
}

const ECHO: &str = "100007 bytes back, the end";
const REFUSED: &str = "ECONNREFUSED";

#[test]
fn by_default_the_world_is_reached_and_neither_the_host_nor_private_networks() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let tries = [
        (format!("tcp/{SERVER}/7"), ECHO),
        (format!("gift/{SERVER}/19"), "8388608 bytes, True"),
        (format!("udp/{SERVER}/7"), "hello"),
        ("tcp/www.example.com/7".into(), ECHO),
        // Nobody listens: as the server itself would say it.
        (format!("tcp/{SERVER}/8"), REFUSED),
        (format!("udp/{SERVER}/8"), REFUSED),
        // The host by every name it has, then other people's networks.
        (format!("tcp/{HOST}/7"), REFUSED),
        ("tcp/198.19.0.1/7".into(), REFUSED),
        ("tcp/10.0.0.1/7".into(), REFUSED),
        ("tcp/169.254.169.254/80".into(), REFUSED),
        ("tcp/192.168.1.1/7".into(), REFUSED),
        ("tcp/inside.example.com/7".into(), REFUSED),
        ("udp/10.0.0.1/7".into(), "EHOSTUNREACH"),
        // The same in IPv6, with the forms that hide an IPv4 address.
        (format!("tcp6/{SERVER_V6}/7"), ECHO),
        ("tcp6/www.example.com/7".into(), ECHO),
        (format!("tcp6/{SERVER_V6}/8"), REFUSED),
        (format!("tcp6/{HOST_V6}/7"), REFUSED),
        ("tcp6/fd53:6d76::1/7".into(), REFUSED),
        ("tcp6/fd00::1/7".into(), REFUSED),
        ("tcp6/64:ff9b::a00:1/7".into(), REFUSED),
        ("udp6/fd00::1/7".into(), "EACCES"),
    ];
    let tries: Vec<_> = tries
        .iter()
        .map(|(word, outcome)| (word.as_str(), *outcome))
        .collect();
    expect(&home, &[], &tries);
    home.assert_nothing_left();
}

#[test]
fn rules_decide_in_order_by_network_port_and_name() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let named = ["--egress", "allow:www.example.com:7", "--egress", "deny:*"];
    expect(
        &home,
        &named,
        &[
            // Before it has asked for the name, the address alone is nobody's.
            (&format!("tcp/{SERVER}/7"), REFUSED),
            ("tcp/www.example.com/7", ECHO),
            ("tcp/www.example.com/19", REFUSED),
        ],
    );
    expect(
        &home,
        &[
            "--network",
            "full",
            "--egress",
            &format!("deny:{SERVER}:19/tcp"),
        ],
        &[
            (&format!("tcp/{HOST}/7"), ECHO),
            ("tcp/198.19.0.1/7", ECHO),
            (&format!("gift/{SERVER}/19"), REFUSED),
        ],
    );
    expect(
        &home,
        &["--network", "none"],
        &[(&format!("tcp/{SERVER}/7"), "ENETUNREACH")],
    );
}

/// Answers each client with where it came from, and one client's lines for as long as it has any.
const SERVE: &str = r#"
import socket
server = socket.create_server(('', 8000))
while True:
    client, where = server.accept()
    client.sendall((where[0] + '\n').encode())
    while data := client.recv(65536): client.sendall(data)
    client.close()
"#;

#[test]
fn a_published_port_leads_to_the_workload_from_the_host_alone() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let image = home.image("python3");
    home.run([
        "run", "-d", "--name", "web", "-p", "0:8000", &image, "python3", "-c", SERVE,
    ])
    .ok();
    let address = home.run(["port", "web", "8000"]).ok().trim_end().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert!(
        home.run(["ps"])
            .ok()
            .contains(&format!("{address}->8000/tcp"))
    );
    let script = r#"
import socket, sys
host, port = sys.argv[1].split(':')
# The workload may still be on its way to its port: until then each client is reset.
while True:
    try:
        sock = socket.create_connection((host, int(port)))
        sock.settimeout(60)
        first = sock.recv(100)
        if first: break
    except ConnectionResetError: pass
sent = bytes(range(256)) * 8192
import threading
threading.Thread(target=lambda: (sock.sendall(sent), sock.shutdown(socket.SHUT_WR))).start()
back = b''
while data := sock.recv(65536): back += data
print(first.decode().strip(), back == sent)
"#;
    let out = internet
        .on_host("python3")
        .args(["-c", script, &address])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "198.19.0.1 True\n",
        "{out:?}"
    );
    let again = home.run([
        "run",
        "--rm",
        "-p",
        &format!("{}:1", address.trim_start_matches("127.0.0.1:")),
        &image,
        "true",
    ]);
    assert_eq!(again.code, 125);
    assert!(
        again.stderr.contains("cannot publish port"),
        "{}",
        again.stderr
    );
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

/// Holds connections and a datagram socket, and says what becomes of them; then who it is, and whether it reaches the
/// server and is still kept from port 19. It looks when it reads from the pipe, or when a connection ends.
const HOLD: &str = r#"
import os, socket, threading
SERVER = '93.184.216.34'
def identity():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.connect((SERVER, 9))
    where = probe.getsockname()[0]
    with open('/sys/class/net/eth0/address') as mac: return mac.read().strip() + (' own' if where.startswith('198.19.') else where)
def fate(sock):
    try: return 'kept' if sock.recv(1) == b'b' else 'ended'
    except ConnectionResetError: return 'reset'
SERVER6 = '2606:2800:220:1::34'
held = [socket.create_connection((SERVER, 7)) for _ in range(300)] + [socket.create_connection((SERVER6, 7))]
for sock in held: sock.sendall(b'a'); assert sock.recv(1) == b'a'
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.connect((SERVER, 7)); udp.settimeout(60)
udp.send(b'u'); assert udp.recv(1) == b'u'
def go_on():
    open('/tmp/go').read()
    for sock in held: sock.sendall(b'b')
os.mkfifo('/tmp/go')
threading.Thread(target=go_on, daemon=True).start()
os.mkfifo('/tmp/held')
open('/tmp/held', 'w').write(identity())
print(*sorted(set(map(fate, held))), flush=True)
try: udp.send(b'v'); print('datagrams', udp.recv(1), flush=True)
except OSError: print('datagrams refused', flush=True)
for server in SERVER, SERVER6:
    again = socket.create_connection((server, 7)); again.sendall(b'c'); assert again.recv(1) == b'c'
try: socket.create_connection((SERVER, 19)); print('no rule', flush=True)
except ConnectionRefusedError: print('ruled', flush=True)
print(identity(), flush=True)
"#;

/// What a program that holds connections said in the end, and who it is then.
fn fates(home: &Home, vm: &str) -> (String, String) {
    home.run(["wait", vm]).ok();
    let logs = home.run(["logs", vm]);
    let said = logs.ok().trim_end().rsplit_once('\n');
    let (fates, identity) = said.unwrap_or_else(|| panic!("{}", logs.stderr));
    (fates.to_owned(), identity.to_owned())
}

#[test]
fn copies_have_a_network_of_their_own_and_hear_that_their_connections_are_not_theirs() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let image = home.image("python3");
    let rule = format!("deny:{SERVER}:19");
    home.run([
        "run", "-d", "--name", "old", "--egress", &rule, &image, "python3", "-c", HOLD,
    ])
    .ok();
    let held = "until [ -p /tmp/held ]; do :; done; cat /tmp/held";
    let old = home.run(["exec", "old", "sh", "-c", held]).ok().to_owned();
    let forked = home.run(["fork", "old"]).ok().trim_end().to_owned();
    home.run(["snapshot", "create", "old", "--name", "then"])
        .ok();
    home.run(["run", "-d", "--snapshot", "then", "--name", "later"])
        .ok();
    let lost = "reset\ndatagrams refused\nruled";
    let mut identities = vec![old.clone()];
    for copy in [&forked, "later"] {
        let (fates, identity) = fates(&home, copy);
        assert_eq!(fates, lost, "{copy}");
        assert!(!identities.contains(&identity), "{identity}");
        identities.push(identity);
    }
    // The original has kept what it had over all this, and over a pause.
    home.run(["pause", "old"]).ok();
    home.run(["unpause", "old"]).ok();
    home.run(["exec", "old", "sh", "-c", ": > /tmp/go"]).ok();
    let kept = "kept\ndatagrams b'v'\nruled";
    assert_eq!(fates(&home, "old"), (kept.to_owned(), old));
    home.run(["rm", "old", &forked, "later"]).ok();
    home.assert_nothing_left();
}

/// Holds a connection and tells when it has one, and what became of it; then waits.
const ONE_HELD: &str = r#"
import os, signal, socket
sock = socket.create_connection(('93.184.216.34', 7)); sock.sendall(b'a'); assert sock.recv(1) == b'a'
os.mkfifo('/tmp/fate'); os.mkfifo('/tmp/held'); open('/tmp/held', 'w').write('held')
try: fate = 'kept' if sock.recv(1) else 'ended'
except ConnectionResetError: fate = 'reset'
open('/tmp/fate', 'w').write(fate)
signal.pause()
"#;

#[test]
fn what_a_running_vm_may_reach_and_how_fast_changes_and_connections_that_it_may_not_have_are_reset()
{
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let image = home.image("python3");
    home.run([
        "run", "-d", "--name", "vm", &image, "python3", "-c", ONE_HELD,
    ])
    .ok();
    let held = "until [ -p /tmp/held ]; do :; done; cat /tmp/held";
    assert_eq!(home.run(["exec", "vm", "sh", "-c", held]).ok(), "held");
    let (echo, gift) = (format!("tcp/{SERVER}/7"), format!("gift/{SERVER}/19"));
    let (udp, host) = (format!("udp/{SERVER}/7"), format!("tcp/{HOST}/7"));
    let tried = |vm: &str, words: &[&str]| {
        let line = [&["exec", vm, "python3", "-c", TRY], words].concat();
        home.run(line).ok().to_owned()
    };
    let update = |words: &[&str]| {
        let done = home.run([&["update"], words].concat());
        assert_eq!(done.ok(), "vm\n");
    };
    let rules = ["--egress", "deny:93.184.216.34:7/tcp"];
    update(&[&rules[..], &["vm"]].concat());
    let fate = home.run(["exec", "vm", "cat", "/tmp/fate"]);
    assert_eq!(fate.ok(), "reset");
    let closed = format!("{echo} {REFUSED}\n{udp} hello\n{host} {REFUSED}\n");
    assert_eq!(tried("vm", &[&echo, &udp, &host]), closed);
    let shown = |vm: &str| {
        let format = "{{.HostConfig.NetworkMode}} {{json .HostConfig.Egress}}";
        home.run(["inspect", "--format", format, vm])
            .ok()
            .to_owned()
    };
    assert_eq!(shown("vm"), "public [\"deny:93.184.216.34/32:7/tcp\"]\n");

    update(&["--egress", "none", "vm"]);
    assert_eq!(tried("vm", &[&echo]), format!("{echo} {ECHO}\n"));

    // What is more than a limit allows waits, and arrives whole.
    update(&["--network-rate", "down=8M,up=100k", "vm"]);
    let whole = format!("{gift} 8388608 bytes, True\n{echo} {ECHO}\n{udp} hello\n");
    assert_eq!(tried("vm", &[&gift, &echo, &udp]), whole);
    let held = home.run(["stats", "--no-stream", "--format", "{{.NetHeld}}", "vm"]);
    let held = held.ok().trim_end().split_once(" / ");
    assert!(held.is_some_and(|(down, up)| down != "0" && up != "0"));
    update(&["--network-rate", "none", "vm"]);

    update(&["--network", "none", "vm"]);
    assert_eq!(
        tried("vm", &[&echo, &udp]),
        format!("{echo} {REFUSED}\n{udp} EHOSTUNREACH\n")
    );

    // Copies have the rules of now, and so has the next life.
    let rule = format!("deny:{SERVER}:19");
    update(&["--network", "full", "--egress", &rule, "vm"]);
    let ruled = format!("{gift} {REFUSED}\n{host} {ECHO}\n");
    let copy = home.run(["fork", "vm"]).ok().trim_end().to_owned();
    assert_eq!(tried(&copy, &[&gift, &host]), ruled);
    assert_eq!(shown(&copy), shown("vm"));
    home.run(["restart", "-t", "0", "vm"]).ok();
    assert_eq!(tried("vm", &[&gift, &host]), ruled);

    // A VM that has ended is changed too. One that was started without a network gets none while it runs.
    home.run(["stop", "-t", "0", "vm"]).ok();
    update(&["--network", "none", "vm"]);
    assert!(shown("vm").starts_with("none "));
    home.run(["rm", "-f", "vm", &copy]).ok();
    home.run([
        "run",
        "-d",
        "--name",
        "bare",
        "--network",
        "none",
        &image,
        "tail",
        "-f",
        "/dev/null",
    ])
    .ok();
    for (words, message) in [
        ("--egress nonsense", "a rule starts with allow: or deny:"),
        ("--network full", "was started without a network"),
    ] {
        let line = format!("update {words} bare");
        let refused = home.run(line.split(' '));
        assert_eq!(refused.code, 125);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
    home.run(["rm", "-f", "bare"]).ok();
    home.assert_nothing_left();
}
