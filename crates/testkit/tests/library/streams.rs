//! Bytes through an exec's streams.

use crate::idle_vm;
use std::io::{ErrorKind, Read, Write};
use supermachine::{ExecStdin, ExitStatus};
use testkit::Home;

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn guest_16_sixty_four_mib_in_and_out_are_identical() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let data = noise(64 << 20);
    let output = vm
        .exec_builder()
        .argv(["cat"])
        .stdin(ExecStdin::Bytes(data.clone()))
        .output()
        .unwrap();
    assert!(output.success() && output.stdout == data);
}

#[test]
fn sixty_four_mib_stream_through_threads_of_the_callers() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let mut child = vm
        .exec_builder()
        .argv(["cat"])
        .stdin(ExecStdin::Stream)
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let data = noise(64 << 20);
    let back = std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&data).unwrap();
            drop(stdin);
        });
        let mut back = Vec::new();
        stdout.read_to_end(&mut back).unwrap();
        back
    });
    assert!(back == data);
    assert_eq!(child.wait().unwrap().status, ExitStatus::Code(0));
}

#[test]
fn guest_16_a_stdout_nobody_reads_holds_back_neither_stderr_nor_other_execs() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let script = "yes & dd if=/dev/zero bs=1M count=8 >&2 2>/dev/null; kill $!";
    let mut child = vm
        .exec_builder()
        .argv(["sh", "-c", script])
        .spawn()
        .unwrap();
    let mut bytes = 0;
    let mut stderr = child.stderr.take().unwrap();
    let mut buffer = vec![0; 1 << 16];
    while bytes < 8 << 20 {
        let count = stderr.read(&mut buffer).unwrap();
        assert!(count > 0, "standard error ended after {bytes} bytes");
        bytes += count;
    }
    assert_eq!(vm.exec(["echo", "hi"]).unwrap().stdout, b"hi\n");
}

#[test]
fn a_process_that_closes_its_input_breaks_the_pipe_of_its_writer() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let argv = ["sh", "-c", "exec <&-; sleep 1000"];
    let mut child = vm
        .exec_builder()
        .argv(argv)
        .stdin(ExecStdin::Stream)
        .spawn()
        .unwrap();
    let error = child
        .stdin
        .take()
        .unwrap()
        .write_all(&noise(1 << 20))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    child.kill();
    child.wait().unwrap();
}
