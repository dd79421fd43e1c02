//! Reading the log, while it is written or after.

use super::directory::Directory;
use super::entry::{HEADER_LEN, Header, LogEntry};
use super::{CURRENT, older};
use crate::deadline::Deadline;
use crate::liveness::Liveness;
use crate::poll;
use rustix::event::PollFlags;
use rustix::fs::inotify;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often a follower looks whether the supervisor still lives; its orderly end is noticed at once.
const LIVENESS_CHECK: Duration = Duration::from_secs(1);

/// Reads a VM's log from its oldest entry. As an iterator it ends with what has been written so far;
/// [`Self::follow`] waits for more until the VM has ended.
#[derive(Debug)]
pub struct LogReader {
    dir: Directory,
    files: VecDeque<File>,
    position: u64,
    watch: Option<OwnedFd>,
    live: Liveness,
}

impl LogReader {
    /// Of the VM with this record.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let dir = Directory::open(dir)?;
        let live = Liveness::of(&dir.path());
        Self::of(dir, live)
    }

    fn of(dir: Directory, live: Liveness) -> io::Result<Self> {
        let mut files = VecDeque::new();
        let mut seen = None;
        // The newest first, so that a rotation meanwhile gives a file twice and loses none.
        for number in 0.. {
            let name = if number == 0 {
                CURRENT.to_owned()
            } else {
                older(number)
            };
            match File::open(dir.join(&name)) {
                Ok(file) => {
                    let inode = file.metadata()?.ino();
                    if seen.replace(inode) != Some(inode) {
                        files.push_front(file);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            dir,
            files,
            position: 0,
            watch: None,
            live,
        })
    }

    /// The next entry; at the end of the log waits for more while the VM runs. `None` when it has ended.
    pub fn follow(&mut self) -> io::Result<Option<LogEntry>> {
        self.follow_deadline(Deadline::NEVER)
    }

    /// As [`Self::follow`], until a deadline ([`io::ErrorKind::TimedOut`]).
    pub fn follow_deadline(
        &mut self,
        deadline: impl Into<Deadline>,
    ) -> io::Result<Option<LogEntry>> {
        let deadline = deadline.into();
        self.start_watching()?;
        loop {
            // Liveness first: what was written before the end is still read.
            let live = self.live.is_live();
            if let Some(entry) = self.read_entry()? {
                return Ok(Some(entry));
            }
            if !live {
                return Ok(None);
            }
            if deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait(deadline.min(Deadline::after(LIVENESS_CHECK)));
        }
    }

    fn start_watching(&mut self) -> io::Result<()> {
        if self.watch.is_none() {
            let watch =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let what = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::DELETE_SELF;
            inotify::add_watch(&watch, self.dir.path(), what)?;
            self.watch = Some(watch);
        }
        Ok(())
    }

    fn wait(&self, deadline: Deadline) {
        let Some(watch) = &self.watch else { return };
        poll::ready(watch, PollFlags::IN, deadline);
        let mut events = [0; 4096];
        while rustix::io::read(watch, &mut events).is_ok_and(|count| count > 0) {}
    }

    fn read_entry(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            if self.files.is_empty() && !self.open_successor(None)? {
                return Ok(None);
            }
            let rotated = self.files.len() > 1
                || self.open_successor(Some(self.files[0].metadata()?.ino()))?;
            if let Some(entry) = read_at(&mut self.files[0], &mut self.position)? {
                return Ok(Some(entry));
            }
            if !rotated {
                return Ok(None);
            }
            self.files.pop_front();
            self.position = 0;
        }
    }

    /// Opens the current file if it is another than the one being read.
    fn open_successor(&mut self, reading: Option<u64>) -> io::Result<bool> {
        match File::open(self.dir.join(CURRENT)) {
            Ok(file) if Some(file.metadata()?.ino()) != reading => {
                self.files.push_back(file);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The whole entry at `position`, if it is there.
fn read_at(file: &mut File, position: &mut u64) -> io::Result<Option<LogEntry>> {
    let mut header = [0; HEADER_LEN];
    file.seek(SeekFrom::Start(*position))?;
    if !read_whole(file, &mut header)? {
        return Ok(None);
    }
    let Some(header) = Header::decode(header) else {
        return Ok(None);
    };
    let mut data = vec![0; header.len];
    if !read_whole(file, &mut data)? {
        return Ok(None);
    }
    *position += (HEADER_LEN + header.len) as u64;
    Ok(Some(LogEntry {
        at: header.at,
        stream: header.stream,
        data,
    }))
}

fn read_whole(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Iterator for LogReader {
    type Item = io::Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_entry().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LogStream::{Stderr, Stdout};
    use super::super::{LogStream, LogWriter};
    use super::*;
    use crate::config::LogLimits;

    fn limited(dir: &Path, max_size: u64, max_files: u32) -> LogWriter {
        let limits = LogLimits {
            max_size,
            max_files,
        };
        LogWriter::open(dir, limits).unwrap()
    }

    fn read(dir: &Path) -> Vec<(LogStream, Vec<u8>)> {
        let reader = LogReader::of(Directory::open(dir).unwrap(), Liveness::ended()).unwrap();
        reader
            .map(|entry| entry.map(|entry| (entry.stream, entry.data)).unwrap())
            .collect()
    }

    #[test]
    fn entries_come_back_with_their_streams_and_any_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), LogLimits::DEFAULT).unwrap();
        log.append(Stdout, b"a\0\xff\n").unwrap();
        log.append(Stderr, b"").unwrap();
        log.append(Stdout, &[7; 64 << 10]).unwrap();
        assert_eq!(
            read(dir.path()),
            [
                (Stdout, b"a\0\xff\n".to_vec()),
                (Stderr, vec![]),
                (Stdout, vec![7; 64 << 10])
            ]
        );
    }

    #[test]
    fn a_torn_tail_ends_the_log_and_the_next_writer_cuts_it_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        let mut log = LogWriter::open(dir.path(), LogLimits::DEFAULT).unwrap();
        log.append(Stdout, b"whole").unwrap();
        log.append(Stdout, b"torn").unwrap();
        let full = std::fs::read(&path).unwrap();
        for cut in 1..17 {
            std::fs::write(&path, &full[..full.len() - cut]).unwrap();
            assert_eq!(read(dir.path()), [(Stdout, b"whole".to_vec())], "cut {cut}");
            LogWriter::open(dir.path(), LogLimits::DEFAULT)
                .unwrap()
                .append(Stderr, b"next")
                .unwrap();
            assert_eq!(
                read(dir.path()),
                [(Stdout, b"whole".to_vec()), (Stderr, b"next".to_vec())]
            );
        }
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = limited(dir.path(), 10_000, 2);
        for number in 0..1000_u32 {
            log.append(Stdout, &[number.to_le_bytes(); 25].concat())
                .unwrap();
        }
        let entries = read(dir.path());
        assert!((88..=178).contains(&entries.len()), "{}", entries.len());
        let numbers: Vec<_> = entries
            .iter()
            .map(|(_, data)| u32::from_le_bytes(*data.first_chunk().unwrap()))
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(numbers.last(), Some(&999));
    }

    #[test]
    fn as_many_files_are_kept_as_the_limits_say() {
        for files in [1, 2, 3, 5] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = limited(dir.path(), 1000, files);
            for number in 0..200_u8 {
                log.append(Stdout, &[number; 87]).unwrap();
            }
            drop(log);
            assert_eq!(
                std::fs::read_dir(dir.path()).unwrap().count(),
                files as usize
            );
            let entries = read(dir.path());
            // Ten entries of 100 bytes fill a file.
            assert_eq!(entries.len(), 10 * files as usize);
            assert!(
                entries
                    .iter()
                    .rev()
                    .zip((0..200).rev())
                    .all(|((_, data), number)| data[0] == number)
            );
        }
    }

    #[test]
    fn a_follower_sees_every_entry_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = limited(dir.path(), 500, 2);
        let mut reader =
            LogReader::of(Directory::open(dir.path()).unwrap(), Liveness::ended()).unwrap();
        for number in 0..100_u8 {
            log.append(Stdout, &[number; 50]).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().data, [number; 50]);
            assert!(reader.next().is_none());
        }
    }

    #[test]
    fn a_follower_waits_for_a_live_writer_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = crate::liveness::tests::hold(dir.path());
        let mut reader = LogReader::open(dir.path()).unwrap();
        let writer = std::thread::spawn({
            let dir = dir.path().to_owned();
            move || {
                let mut log = LogWriter::open(&dir, LogLimits::DEFAULT).unwrap();
                log.append(Stdout, b"one").unwrap();
                log.append(Stdout, b"two").unwrap();
                drop(lock);
                std::fs::write(dir.join("record.json"), "").unwrap();
            }
        });
        assert_eq!(reader.follow().unwrap().unwrap().data, b"one");
        assert_eq!(reader.follow().unwrap().unwrap().data, b"two");
        assert_eq!(reader.follow().unwrap(), None);
        writer.join().unwrap();
    }

    #[test]
    fn a_follower_of_a_quiet_vm_gives_up_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = crate::liveness::tests::hold(dir.path());
        let mut reader = LogReader::open(dir.path()).unwrap();
        let error = reader
            .follow_deadline(Duration::from_millis(5))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_damaged_log_make_the_reader_panic(bytes: Vec<u8>) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(CURRENT), bytes).unwrap();
            let reader = LogReader::of(Directory::open(dir.path()).unwrap(), Liveness::ended()).unwrap();
            let _ = reader.map(Result::unwrap).count();
        }
    }
}
