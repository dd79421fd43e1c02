//! A connection that stops half-way: what a test of interrupted pulls needs, without timing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Forwards TCP connections to a server, and stops passing on what the server says after so many bytes.
pub struct StallingProxy {
    address: SocketAddr,
    stalled: Receiver<()>,
}

impl StallingProxy {
    /// Listens in front of `server`; all connections together get `bytes` of it.
    pub fn start(server: SocketAddr, bytes: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (stall, stalled) = channel();
        let budget = Arc::new(AtomicUsize::new(bytes));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                forward(client, server, &budget, &stall);
            }
        });
        Self { address, stalled }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the bytes are used up and somebody waits for more.
    pub fn wait_until_stalled(&self) {
        self.stalled
            .recv()
            .expect("the proxy runs as long as the test");
    }
}

fn forward(client: TcpStream, server: SocketAddr, budget: &Arc<AtomicUsize>, stall: &Sender<()>) {
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        // Either side may hang up at any time; that is what the test is about.
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    let (budget, stall) = (Arc::clone(budget), stall.clone());
    thread::spawn(move || answer(server, client, &budget, &stall));
}

fn answer(mut server: TcpStream, mut client: TcpStream, budget: &AtomicUsize, stall: &Sender<()>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let left = budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            Some(left.saturating_sub(length))
        });
        let allowed = left.expect("the update never refuses").min(length);
        if client.write_all(&buffer[..allowed]).is_err() {
            return;
        }
        if allowed < length {
            let _ = stall.send(()); // the test may be over
            thread::park(); // holds both connections open for as long as the test runs
        }
    }
}
