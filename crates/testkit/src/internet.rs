//! An Internet of one server, in network namespaces of its own: whatever the code under test does, no packet leaves
//! the machine.

use crate::host;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The address of the server, which is somebody's in the real Internet.
pub const SERVER: &str = "93.184.216.34";
/// The same in IPv6.
pub const SERVER_V6: &str = "2606:2800:220:1::34";
/// The address of the host on the way to it.
pub const HOST: &str = "93.184.216.1";
/// The same in IPv6.
pub const HOST_V6: &str = "2606:2800:220:1::1";

/// On the server: TCP and UDP echo on port 7, over IPv6 too, a gift of 8 MiB on port 19, a name server that knows one
/// name. On the host: one service on all addresses.
const SERVICES: &str = r#"
import socket, socketserver, sys, threading
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b'the end')
class Gift(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(bytes(range(256)) * 32768)
class UdpEcho(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)
class Names(socketserver.BaseRequestHandler):
    def handle(self):
        asked, sock = self.request
        name, end = [], 12
        while asked[end]:
            name.append(asked[end + 1:end + 1 + asked[end]].decode()); end += 1 + asked[end]
        question = asked[12:end + 5]
        known = {'www.example.com': ('93.184.216.34', '2606:2800:220:1::34'), 'inside.example.com': ('10.0.0.1', None)}.get('.'.join(name))
        kind, found = question[-4:-2], None
        if known and kind == b'\0\1': found = socket.inet_aton(known[0])
        if known and kind == b'\0\x1c' and known[1]: found = socket.inet_pton(socket.AF_INET6, known[1])
        answer = b'\xc0\x0c' + kind + b'\0\1\0\0\0\x3c' + len(found).to_bytes(2, 'big') + found if found else b''
        code = b'\x81\x80' if known else b'\x81\x83'
        sock.sendto(asked[:2] + code + b'\0\1' + (b'\0\1' if found else b'\0\0') + b'\0\0\0\0' + question + answer, self.client_address)
class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
class Tcp6(Tcp):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
where, where6 = sys.argv[1:]
servers = [Tcp((where, 7), Echo), Tcp6((where6, 7), Echo)]
if where != '0.0.0.0':
    servers += [Tcp((where, 19), Gift), socketserver.UDPServer((where, 7), UdpEcho), socketserver.UDPServer((where, 53), Names)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print('ready', flush=True)
"#;

/// The host's namespace, a wire, and the server's.
pub struct Internet {
    near: String,
    far: String,
    servers: Vec<Child>,
}

impl Internet {
    /// Makes the namespaces and starts the services.
    pub fn new() -> Self {
        host::require_root();
        let id = std::process::id();
        let (near, far) = (format!("sm-near-{id}"), format!("sm-far-{id}"));
        let mut internet = Self {
            near,
            far,
            servers: Vec::new(),
        };
        internet.wire();
        internet.serve(&internet.far.clone(), [SERVER, SERVER_V6]);
        internet.serve(&internet.near.clone(), ["0.0.0.0", "::"]);
        internet
    }

    fn wire(&self) {
        let (near, far) = (&self.near, &self.far);
        for namespace in [near, far] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        ip(&format!(
            "link add wire netns {near} type veth peer name wire netns {far}"
        ));
        for (namespace, v4, v6) in [(near, HOST, HOST_V6), (far, SERVER, SERVER_V6)] {
            ip(&format!("-n {namespace} address add {v4}/24 dev wire"));
            ip(&format!(
                "-n {namespace} address add {v6}/64 dev wire nodad"
            ));
            ip(&format!("-n {namespace} link set wire up"));
        }
        ip(&format!("-n {near} route add default via {SERVER}"));
        ip(&format!("-n {near} route add default via {SERVER_V6}"));
    }

    fn serve(&mut self, namespace: &str, addresses: [&str; 2]) {
        self.start(namespace, SERVICES, &addresses);
    }

    /// One more service on the server: a script that says `ready`.
    pub fn also_serve(&mut self, script: &str, words: &[&str]) {
        self.start(&self.far.clone(), script, words);
    }

    fn start(&mut self, namespace: &str, script: &str, words: &[&str]) {
        let mut server = Command::new("ip")
            .args(["netns", "exec", namespace, "python3", "-c", script])
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("read from python3");
        assert_eq!(line, "ready\n");
        self.servers.push(server);
    }

    /// The namespace that stands for the host.
    pub fn near(&self) -> &str {
        &self.near
    }

    /// A program on the host.
    pub fn on_host(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.near, program]);
        command
    }
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may have ended by itself, which its test has noticed.
            let _ = server.kill();
            let _ = server.wait();
        }
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .status();
        }
    }
}

fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split(' '))
        .status()
        .expect("run ip, of iproute2");
    assert!(status.success(), "ip {words}");
}
