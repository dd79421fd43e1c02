//! The library on a tokio runtime.

use crate::{idle_vm, runtime, shell};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use supermachine::{
    Canceler, Error, EventKind, ExecStdin, ExitStatus, Retention, SessionError, VmConfig,
};
use testkit::Home;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A runtime of one thread: whatever blocks it blocks everything.
fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

#[test]
fn execs_streams_and_waits_go_on_at_once_in_one_thread() {
    let home = Home::new();
    let config = VmConfig::new().retention(Retention::Keep).name("awaited");
    let vm = shell(
        &home,
        config,
        "mkfifo /go && read -r code < /go && exit $code",
    );
    let far = runtime(&home).open_vm("awaited").unwrap();
    on_one_thread(async {
        // Each of the two waits for the other, so neither may hold the thread.
        let meet = |mine: &str, other: &str| {
            let script =
                format!("mkfifo /{mine} 2>/dev/null; echo {mine} > /{mine} & cat /{other}; wait");
            ["sh", "-c", &script].map(str::to_owned)
        };
        vm.exec_async(["mkfifo", "/a", "/b"]).await.unwrap();
        let (near, distant) = tokio::join!(
            vm.exec_async(meet("a", "b")),
            far.exec_async(meet("b", "a"))
        );
        assert_eq!(near.unwrap().stdout, b"b\n");
        assert_eq!(distant.unwrap().stdout, b"a\n");

        // 8 MiB there and back through one task that writes and one that reads.
        let cat = vm.exec_builder().argv(["cat"]).stdin(ExecStdin::Stream);
        let mut cat = cat.spawn_async().await.unwrap();
        assert!(cat.pid().await.unwrap() > 0);
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let sent: Vec<u8> = (0..8 << 20).map(|at: u32| (at % 251) as u8).collect();
        let mut received = Vec::new();
        let (_, _, exit) = tokio::join!(
            async {
                stdin.write_all(&sent).await.unwrap();
                stdin.shutdown().await.unwrap();
            },
            async { stdout.read_to_end(&mut received).await.unwrap() },
            cat.wait(),
        );
        assert!(received == sent);
        assert_eq!(exit.unwrap().status, ExitStatus::Code(0));

        let results = vm.exec_builder().stage_file("/in", "x", 0o600);
        let results = results
            .chain_async([["cat", "/in"], ["cat", "/no"]])
            .await
            .unwrap();
        let codes: Vec<_> = results
            .iter()
            .map(|one| one.as_ref().unwrap().status())
            .collect();
        assert_eq!(codes, [ExitStatus::Code(0), ExitStatus::Code(1)]);
        let missing = vm.exec_async(["/no/such"]).await.unwrap_err();
        assert_eq!(missing.exit_code(), 127);
        let late = vm
            .exec_builder()
            .argv(["sleep", "1000"])
            .deadline(Duration::from_millis(50));
        let late = late.output_async().await.unwrap_err();
        assert!(matches!(late, Error::Deadline { .. }), "{late:?}");

        let mut events = far.events_async().unwrap();
        let mut next = async || events.next().await.map(|event| event.unwrap().kind);
        assert_eq!(next().await, Some(EventKind::Started));
        let (near, distant, _) = tokio::join!(vm.wait_async(), far.wait_async(), async {
            // The VM may be gone before the answer.
            drop(vm.exec_async(["sh", "-c", "echo 7 > /go"]).await);
        });
        assert_eq!(near.unwrap().status, ExitStatus::Code(7));
        assert_eq!(distant.unwrap().status, ExitStatus::Code(7));
        let exited = next().await;
        assert!(
            matches!(exited, Some(EventKind::Exited(exit)) if exit.status == ExitStatus::Code(7)),
            "{exited:?}"
        );
        assert_eq!(next().await, None);
    });
    drop((vm, far));
    runtime(&home).remove_vm("awaited").unwrap();
}

/// Polls a future so often at most, then drops it. Between two polls the runtime gets its turn.
async fn polled_at_most<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[test]
fn futures_that_are_dropped_at_any_point_leave_nothing_half_done() {
    let home = Home::new();
    let vm = idle_vm(&home);
    on_one_thread(async {
        // Whole execs, dropped after so many polls: from before the request to after the exit.
        for times in 0..60 {
            let exec = vm.exec_async(["sh", "-c", "echo out; echo err >&2"]);
            if let Some(done) = polled_at_most(times, exec).await {
                assert_eq!(done.unwrap().stdout, b"out\n");
            }
        }
        // Reads, writes and waits of one process, each dropped again and again: no byte is lost or doubled.
        let cat = vm.exec_builder().argv(["cat"]).stdin(ExecStdin::Stream);
        let mut cat = cat.spawn_async().await.unwrap();
        let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let sent: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 241) as u8).collect();
        let (mut received, mut buffer) = (Vec::new(), vec![0; 5000]);
        let (mut written, mut times) = (0, 0);
        while received.len() < sent.len() {
            times = (times + 1) % 4;
            assert!(polled_at_most(times, cat.wait()).await.is_none());
            if written < sent.len() {
                let write = stdin.write(&sent[written..]);
                written += polled_at_most(times, write).await.map_or(0, Result::unwrap);
            }
            let read = polled_at_most(times, stdout.read(&mut buffer)).await;
            received.extend_from_slice(&buffer[..read.map_or(0, Result::unwrap)]);
        }
        assert!(received == sent);
        drop(stdin);
        assert_eq!(cat.wait().await.unwrap().status, ExitStatus::Code(0));
        // Nothing of what was dropped runs, and the VM is as good as new.
        let script = "while pidof sh | grep -q ' '; do true; done";
        assert!(vm.exec_async(["sh", "-c", script]).await.unwrap().success());
    });
}

#[test]
fn a_canceler_and_the_end_of_the_vm_reach_those_who_await() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let canceler = Canceler::new();
    on_one_thread(async {
        let endless = || vm.exec_builder().argv(["sleep", "1000"]);
        let child = endless().canceler(&canceler).spawn_async().await.unwrap();
        child.pid().await.unwrap();
        let (waited, ()) = tokio::join!(child.wait(), async { canceler.cancel() });
        let canceled = waited.unwrap_err();
        assert!(
            matches!(canceled, Error::Session(SessionError::Canceled)),
            "{canceled:?}"
        );
        let child = endless().spawn_async().await.unwrap();
        child.pid().await.unwrap();
        let (waited, killed) = tokio::join!(child.wait(), async {
            let kill = || vm.kill();
            std::thread::scope(|scope| scope.spawn(kill).join().unwrap())
        });
        killed.unwrap();
        let gone = waited.unwrap_err();
        assert!(matches!(gone, Error::Client(_)), "{gone:?}");
        assert!(vm.exec_async(["true"]).await.is_err());
    });
}
