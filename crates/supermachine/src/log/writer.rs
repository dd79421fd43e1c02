//! Writing the log.

use super::directory::Directory;
use super::entry::{HEADER_LEN, Header, LogStream};
use super::{CURRENT, older};
use crate::config::LogLimits;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// Writes a VM's log, keeping it under so many files of a fixed size. A disk that is full loses entries and
/// nothing else: the first loss is returned as an error, later ones are counted silently until a write works.
#[derive(Debug)]
pub(crate) struct LogWriter {
    dir: Directory,
    file: File,
    len: u64,
    limits: LogLimits,
    losing: bool,
}

impl LogWriter {
    /// Opens the log of a record, continuing after its last whole entry.
    pub(crate) fn open(dir: &Path, limits: LogLimits) -> io::Result<Self> {
        let dir = Directory::open(dir)?;
        let mut file = open_file(&dir.join(CURRENT))?;
        let len = whole_entries(&mut file)?;
        file.set_len(len)?;
        file.seek(SeekFrom::Start(len))?;
        Ok(Self {
            dir,
            file,
            len,
            limits,
            losing: false,
        })
    }

    /// Adds what arrived. The error of the first entry that is lost; the workload goes on.
    pub(crate) fn append(&mut self, stream: LogStream, data: &[u8]) -> io::Result<()> {
        match self.try_append(stream, data) {
            Ok(()) => {
                self.losing = false;
                Ok(())
            }
            Err(_) if self.losing => Ok(()),
            Err(error) => {
                self.losing = true;
                Err(error)
            }
        }
    }

    fn try_append(&mut self, stream: LogStream, data: &[u8]) -> io::Result<()> {
        if self.len >= self.limits.max_size {
            self.rotate()?;
        }
        let header = Header::encode(stream, SystemTime::now(), data.len());
        let written = self.write_whole(&header, data);
        if written.is_err() {
            // Cut the half-written entry away, or every later one would be unreadable.
            let _ = self
                .file
                .set_len(self.len)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            return written;
        }
        self.len += (HEADER_LEN + data.len()) as u64;
        Ok(())
    }

    fn write_whole(&mut self, header: &[u8], data: &[u8]) -> io::Result<()> {
        let mut parts = [IoSlice::new(header), IoSlice::new(data)];
        let mut rest = &mut parts[..];
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let current = self.dir.join(CURRENT);
        match self.limits.max_files {
            0 | 1 => fs::remove_file(&current)?,
            files => {
                for number in (1..files - 1).rev() {
                    self.make_older(&older(number), number + 1)?;
                }
                self.make_older(CURRENT, 1)?;
            }
        }
        self.file = open_file(&current)?;
        self.len = 0;
        Ok(())
    }
}

impl LogWriter {
    /// A file that is not there yet is none to rename.
    fn make_older(&self, name: &str, number: u32) -> io::Result<()> {
        match fs::rename(self.dir.join(name), self.dir.join(&older(number))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The length of the entries that are complete.
fn whole_entries(file: &mut File) -> io::Result<u64> {
    let total = file.metadata()?.len();
    let mut end = 0;
    let mut header = [0; HEADER_LEN];
    while end + HEADER_LEN as u64 <= total {
        file.seek(SeekFrom::Start(end))?;
        file.read_exact(&mut header)?;
        match Header::decode(header) {
            Some(header) if end + (HEADER_LEN + header.len) as u64 <= total => {
                end += (HEADER_LEN + header.len) as u64;
            }
            _ => break,
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_reported_once_and_does_not_stop_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), LogLimits::DEFAULT).unwrap();
        log.append(LogStream::Stdout, b"kept").unwrap();
        let real = std::mem::replace(
            &mut log.file,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        assert_eq!(
            log.append(LogStream::Stdout, b"lost").unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        log.append(LogStream::Stdout, b"lost silently").unwrap();
        log.file = real;
        log.append(LogStream::Stdout, b"kept").unwrap();
        assert_eq!(
            fs::read(dir.path().join(CURRENT)).unwrap().len(),
            2 * (HEADER_LEN + 4)
        );
    }
}
