//! The standard streams of a process inside, connected to ours: bytes as they are, as soon as they are there.

use crate::output::stdout::Gone;
use crate::signals::Recipient;
use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use supermachine::{OutputReader, Signal, StdinWriter};

/// As much as a pipe holds: more would not come at once.
const BUFFER: usize = 64 << 10;

/// What `kill -l` calls 13.
const SIGPIPE: i32 = 13;

/// The threads that carry output to ours.
pub struct Outputs {
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// The output streams of a process.
pub struct Readers {
    /// Goes to our standard output.
    pub stdout: Option<OutputReader>,
    /// Goes to our standard error.
    pub stderr: Option<OutputReader>,
}

impl Outputs {
    /// Starts carrying. When a stream of ours is closed by its reader, the process gets what a program on this
    /// side of a pipe would get, SIGPIPE, and is killed if that does not end it.
    pub fn start(readers: Readers, process: &Arc<dyn Recipient>) -> anyhow::Result<Self> {
        let stdout = own(io::stdout().as_fd())?;
        let stderr = own(io::stderr().as_fd())?;
        let threads = [
            ("stdout", readers.stdout, stdout),
            ("stderr", readers.stderr, stderr),
        ]
        .into_iter()
        .filter_map(|(name, reader, file)| Some((name, reader?, file)))
        .map(|(name, reader, file)| {
            let process = Arc::clone(process);
            Builder::new()
                .name(name.to_owned())
                .spawn(move || carry_output(reader, &file, name, &*process))
        })
        .collect::<io::Result<_>>()
        .context("cannot start a thread")?;
        Ok(Self { threads })
    }

    /// Waits until all output has been written. Fails with [`Gone`] if nobody wanted it.
    pub fn finish(self) -> anyhow::Result<()> {
        let results: Vec<_> = self.threads.into_iter().map(join).collect();
        results.into_iter().collect()
    }
}

fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A descriptor without a buffer or a lock between us and the kernel.
pub fn own(stream: BorrowedFd<'_>) -> anyhow::Result<File> {
    let owned = stream
        .try_clone_to_owned()
        .context("cannot duplicate a standard stream")?;
    Ok(File::from(owned))
}

fn carry_output(
    reader: impl Read,
    file: &File,
    name: &str,
    process: &dyn Recipient,
) -> anyhow::Result<()> {
    // The reader is dropped by now, which lets the process run into its end instead of a full window.
    let Err(error) = copy_output(reader, file) else {
        return Ok(());
    };
    process.end(Signal::try_from(SIGPIPE)?);
    Err(refused(error, name))
}

/// Copies until the end of the stream, or until nobody takes it anymore.
pub fn copy_output(mut reader: impl Read, file: &File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        // A broken connection is an error of the wait, which can say why.
        let Ok(count @ 1..) = reader.read(&mut buffer) else {
            return Ok(());
        };
        write_all(file, &buffer[..count])?;
    }
}

/// What it means that a stream of ours does not take output.
pub fn refused(error: io::Error, name: &str) -> anyhow::Error {
    if is_gone(&error) {
        Gone.into()
    } else {
        anyhow::Error::new(error).context(format!("cannot write to {name}"))
    }
}

/// A pipe without a reader, or a terminal that was hung up.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Writes everything. Whoever shares the terminal or pipe with us may have made it non-blocking.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for(file.as_fd(), PollFlags::OUT)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, what)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Starts carrying our standard input to a process. The thread ends with the input, with the process, or with
/// ours: nobody waits for it, because a read from a terminal cannot be interrupted.
pub fn carry_input(writer: StdinWriter) -> anyhow::Result<()> {
    let file = own(io::stdin().as_fd())?;
    Builder::new()
        .name("stdin".to_owned())
        .spawn(move || copy_input(&file, writer))
        .context("cannot start a thread")?;
    Ok(())
}

fn copy_input(file: &File, mut writer: impl Write) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = read_input(file, &mut buffer);
        if count == 0 || writer.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Waits for input and reads it; 0 at its end.
pub fn read_input(mut file: &File, buffer: &mut [u8]) -> usize {
    loop {
        match file.read(buffer) {
            Ok(count) => return count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && wait_for(file.as_fd(), PollFlags::IN).is_ok() => {}
            // A terminal that is gone, or a directory: there is nothing to read.
            Err(error) => {
                tracing::debug!(%error, "standard input cannot be read");
                return 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::sync::Mutex;

    #[derive(Default)]
    struct Process(Mutex<Vec<Signal>>);

    impl Recipient for Process {
        fn pass_on(&self, _: Signal) {}

        fn end(&self, signal: Signal) {
            self.0.lock().unwrap().push(signal);
        }
    }

    fn pipe(flags: PipeFlags) -> (File, File) {
        let (read, write) = pipe_with(flags | PipeFlags::CLOEXEC).unwrap();
        (read.into(), write.into())
    }

    #[test]
    fn output_arrives_byte_for_byte_even_through_a_pipe_that_does_not_block() {
        let data: Vec<u8> = (0..1_000_003_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let (mut read, write) = pipe(PipeFlags::NONBLOCK);
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::empty()).unwrap();
        let expected = data.clone();
        let writer = std::thread::spawn(move || {
            carry_output(&data[..], &write, "stdout", &Process::default())
        });
        let mut arrived = Vec::new();
        read.read_to_end(&mut arrived).unwrap();
        writer.join().unwrap().unwrap();
        assert!(arrived == expected);
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_process_with_sigpipe() {
        let (read, write) = pipe(PipeFlags::empty());
        drop(read);
        let process = Process::default();
        let error = carry_output(io::repeat(b'y'), &write, "stdout", &process).unwrap_err();
        assert!(error.is::<Gone>());
        assert_eq!(
            *process.0.lock().unwrap(),
            [Signal::try_from(SIGPIPE).unwrap()]
        );
    }

    #[test]
    fn a_full_disk_ends_the_process_and_is_told() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error =
            carry_output(io::repeat(b'y'), &full, "stdout", &Process::default()).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "cannot write to stdout: No space left on device (os error 28)"
        );
    }

    #[test]
    fn input_is_carried_to_its_end_and_a_process_that_does_not_want_it_stops_it() {
        let (read, mut write) = pipe(PipeFlags::empty());
        write.write_all(b"to the end").unwrap();
        drop(write);
        let mut arrived = Vec::new();
        copy_input(&read, &mut arrived);
        assert_eq!(arrived, b"to the end");

        let zero = File::open("/dev/zero").unwrap();
        copy_input(&zero, [0; 10].as_mut_slice());
        copy_input(&File::open("/").unwrap(), io::sink());
    }
}
