//! Real programs over the network of a VM: TLS, many names, many datagrams, and servers driven through published ports.

use testkit::Home;
use testkit::internet::{Internet, SERVER};

/// HTTPS with the certificate it is told: a body of 1 MiB for whoever asks.
const HTTPS: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1])
BODY = bytes(range(256)) * 4096
def answer(client):
    try:
        with context.wrap_socket(client, server_side=True) as tls:
            asked = b''
            while b'\r\n\r\n' not in asked: asked += tls.recv(4096)
            tls.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(BODY) + BODY)
            tls.unwrap()
    except OSError: pass
server = socket.create_server(('93.184.216.34', 443), backlog=100)
print('ready', flush=True)
while True: threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"#;

/// A connection is held over all of it, and used now and then.
const CLIENT: &str = r#"
import hashlib, socket, ssl, struct, threading, urllib.request
NAME, RESOLVER = 'www.example.com', ('198.19.0.1', 53)
held = socket.create_connection((NAME, 7))
def beat(word):
    held.sendall(word)
    back = b''
    while len(back) < len(word): back += held.recv(len(word) - len(back))
    assert back == word
beat(b'before')
def fetch(context): return urllib.request.urlopen('https://%s/' % NAME, context=context).read()
trusting = ssl.create_default_context(cafile='/tmp/cert.pem')
digests = {hashlib.sha256(fetch(trusting)).digest() for _ in range(5)}
print('whole over TLS:', digests == {hashlib.sha256(bytes(range(256)) * 4096).digest()})
try: fetch(ssl.create_default_context())
except OSError as error: print('a stranger:', 'CERTIFICATE_VERIFY_FAILED' in str(error))
beat(b'between')
def crowd(act):
    seen = []
    threads = [threading.Thread(target=act, args=(number, seen)) for number in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return seen
def datagrams(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.settimeout(60); sock.connect(address)
    return sock
def ask(crew, seen):
    sock = datagrams(RESOLVER)
    for number in range(crew * 50, crew * 50 + 50):
        label = b'www' if number % 2 else b'n%d' % number
        labels = b''.join(bytes([len(part)]) + part for part in (label, b'example', b'com'))
        sock.send(struct.pack('>6H', number, 256, 1, 0, 0, 0) + labels + b'\0\0\1\0\1')
        answer = sock.recv(600)
        assert answer[:2] == struct.pack('>H', number)
        seen.append((answer[3] & 15, answer[-4:] == socket.inet_aton('93.184.216.34')))
names = crowd(ask)
print('names:', names.count((0, True)), 'nobody:', names.count((3, False)))
def echo(crew, seen):
    sock = datagrams(('93.184.216.34', 7))
    for number in range(50):
        word = b'%d of %d' % (number, crew) * 50
        sock.send(word); seen.append(sock.recv(2000) == word)
print('datagrams:', crowd(echo).count(True))
beat(b'after')
print('held')
"#;

#[test]
fn a_workload_speaks_tls_asks_a_thousand_names_and_holds_a_connection_over_all_of_it() {
    let mut internet = Internet::new();
    let home = Home::new().within(internet.near());
    home.run([
        "run",
        "-d",
        "--name",
        "vm",
        "--dns",
        SERVER,
        "--egress",
        "allow:www.example.com",
        "--egress",
        "deny:*",
        &home.image("python3"),
        "tail",
        "-f",
        "/dev/null",
    ])
    .ok();
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                -subj /CN=www.example.com -addext subjectAltName=DNS:www.example.com \
                -keyout /tmp/key.pem -out /tmp/cert.pem 2>/dev/null && cat /tmp/key.pem /tmp/cert.pem";
    let made = home.run(["exec", "vm", "sh", "-c", make]).ok().to_owned();
    let pem = home.scratch().join("server.pem");
    std::fs::write(&pem, made).unwrap();
    internet.also_serve(HTTPS, &[pem.to_str().unwrap()]);
    let said = home.run(["exec", "vm", "python3", "-c", CLIENT]);
    assert_eq!(
        said.ok(),
        "whole over TLS: True\na stranger: True\nnames: 500 nobody: 500\ndatagrams: 1000\nheld\n"
    );
    home.run(["rm", "-f", "vm"]).ok();
    home.assert_nothing_left();
}

/// Eight clients with a connection each, and what they all got.
const CLIENTS: &str = r#"
import http.client, sys, threading
host, port = sys.argv[1].split(':')
def first():
    # The server may still be on its way to its port: until then each client is reset.
    while True:
        try:
            connection = http.client.HTTPConnection(host, int(port)); connection.request('GET', '/')
            return connection.getresponse().read()
        except (ConnectionError, http.client.HTTPException): pass
page, good = first(), []
assert b'Welcome to nginx' in page
def visit():
    connection = http.client.HTTPConnection(host, int(port))
    for _ in range(100):
        connection.request('GET', '/'); response = connection.getresponse()
        good.append(response.status == 200 and response.read() == page)
threads = [threading.Thread(target=visit) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(good.count(True))
"#;

/// Where a published port is.
fn published(home: &Home, vm: &str, port: &str) -> String {
    home.run(["port", vm, port]).ok().trim_end().to_owned()
}

#[test]
fn published_servers_answer_clients_of_the_host_and_of_another_vm() {
    let internet = Internet::new();
    let home = Home::new().within(internet.near());
    let redis = home.image("redis");
    home.run([
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "0:80",
        &home.image("nginx"),
    ])
    .ok();
    home.run([
        "run",
        "-d",
        "--name",
        "redis",
        "-p",
        "0:6379",
        &redis,
        "redis-server",
        "--protected-mode",
        "no",
    ])
    .ok();
    let visited = internet
        .on_host("python3")
        .args(["-c", CLIENTS, &published(&home, "web", "80")])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&visited.stdout),
        "800\n",
        "{visited:?}"
    );
    // The host's loopback is the gateway of a VM that may reach everything.
    let address = published(&home, "redis", "6379");
    let (_, port) = address.split_once(':').unwrap();
    let bench = format!(
        "until redis-cli -h 198.19.0.1 -p {port} ping 2>/dev/null | grep -q PONG; do :; done; \
         redis-benchmark -h 198.19.0.1 -p {port} -t set,get,mset -n 2000 -c 20 -d 1000 -q >/dev/null && \
         redis-cli -h 198.19.0.1 -p {port} info commandstats | grep -o -E 'cmdstat_(set|get|mset):calls=[0-9]+' | sort"
    );
    let counted = home.run([
        "run",
        "--rm",
        "--network",
        "full",
        &redis,
        "sh",
        "-c",
        &bench,
    ]);
    let calls = "cmdstat_get:calls=2000\ncmdstat_mset:calls=2000\ncmdstat_set:calls=2000\n";
    assert_eq!(counted.ok(), calls, "{}", counted.stderr);
    home.run(["rm", "-f", "web", "redis"]).ok();
    home.assert_nothing_left();
}
