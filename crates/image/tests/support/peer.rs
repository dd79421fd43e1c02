//! A small HTTP server on the loopback address that does what a test tells it, right or wrong.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.target.contains("/blobs/")
    }

    pub fn is_manifest(&self) -> bool {
        self.target.contains("/manifests/")
    }
}

/// What to answer.
pub enum Answer {
    /// As it should be.
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, until the peer is dropped.
    Silence,
    /// A tunnel to this address (for CONNECT).
    Tunnel(SocketAddr),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer::Whole {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub fn with(self, name: &str, value: impl Into<String>) -> Self {
        match self {
            Answer::Whole {
                status,
                mut headers,
                body,
            } => {
                headers.push((name.to_owned(), value.into()));
                Answer::Whole {
                    status,
                    headers,
                    body,
                }
            }
            other => other,
        }
    }

    /// Promises the whole body and breaks off after `len` bytes of it.
    pub fn broken_after(self, len: usize) -> Self {
        match self {
            Answer::Whole {
                status,
                headers,
                body,
            } => {
                let promised = body.len();
                let mut raw = head(status, &headers, promised);
                raw.extend_from_slice(&body[..len.min(promised)]);
                Answer::Raw(raw)
            }
            other => other,
        }
    }

    /// Sends the body with another `Content-Length` than its own.
    pub fn claiming(self, len: usize) -> Self {
        match self {
            Answer::Whole {
                status,
                headers,
                body,
            } => {
                let mut raw = head(status, &headers, len);
                raw.extend_from_slice(&body);
                Answer::Raw(raw)
            }
            other => other,
        }
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    seen: Mutex<Vec<Request>>,
    arrived: Condvar,
    connections: Mutex<Vec<TcpStream>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

/// A running server. It ends, with all its connections, when dropped.
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            seen: Mutex::default(),
            arrived: Condvar::new(),
            connections: Mutex::default(),
            is_over: Mutex::new(false),
            over: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &own));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.seen()
            .iter()
            .filter(|request| matches(request))
            .count()
    }

    /// Waits for a request.
    pub fn wait_for(&self, matches: impl Fn(&Request) -> bool) {
        let seen = self.shared.seen.lock().unwrap();
        let _seen = self
            .shared
            .arrived
            .wait_while(seen, |seen| !seen.iter().any(&matches))
            .unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        *self.shared.is_over.lock().unwrap() = true;
        self.shared.over.notify_all();
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().unwrap().join();
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if *shared.is_over.lock().unwrap() {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared
            .connections
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that hangs up is part of many tests.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        shared.seen.lock().unwrap().push(request.clone());
        shared.arrived.notify_all();
        match (shared.handler)(&request) {
            Answer::Whole {
                status,
                headers,
                body,
            } => {
                writer.write_all(&head(status, &headers, body.len()))?;
                if request.method != "HEAD" {
                    writer.write_all(&body)?;
                }
            }
            Answer::Raw(bytes) => {
                writer.write_all(&bytes)?;
                // Lets the client read what was sent before it learns of the end.
                stream.shutdown(Shutdown::Write)?;
                std::io::copy(&mut reader, &mut std::io::sink())?;
                return Ok(());
            }
            Answer::Silence => {
                let is_over = shared.is_over.lock().unwrap();
                drop(shared.over.wait_while(is_over, |over| !*over).unwrap());
                return Ok(());
            }
            Answer::Tunnel(address) => {
                writer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                return tunnel(stream, address);
            }
        }
    }
    Ok(())
}

fn tunnel(client: &TcpStream, address: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(address)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &server, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    // A TLS greeting: this server does not speak that.
    if reader
        .fill_buf()?
        .first()
        .is_none_or(|byte| !byte.is_ascii_uppercase())
    {
        return Ok(None);
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    let len = request
        .header("content-length")
        .and_then(|len| len.parse().ok())
        .unwrap_or(0);
    request.body = vec![0; len];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn head(status: u16, headers: &[(String, String)], len: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Test\r\nContent-Length: {len}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}
