//! All records of a state directory.

use super::content::{Record, State, VERSION};
use super::details::VmDetails;
use super::summary::VmSummary;
use crate::config::Retention;
use crate::home::{Home, write_atomically};
use crate::liveness::{self, Liveness};
use crate::names;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const RECORD: &str = "record.json";
const ROOM: &str = "room";
/// A record and its directory entry.
const ROOM_BYTES: usize = 16 << 10;

/// A generated name is drawn again that often before we give up.
const MAX_DRAWS: u32 = 100;

/// What can go wrong with records.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The name is taken by a VM, running or not.
    #[error("the name {0} is in use by another VM")]
    NameTaken(String),
    /// No VM of this name or id.
    #[error("no such VM: {0}")]
    NotFound(String),
    /// Several ids start like this.
    #[error("several VMs have an id that starts with {0}")]
    Ambiguous(String),
    /// The VM runs, and must not for this.
    #[error("the VM {0} is running")]
    Running(String),
    /// A record was written by another release, or is damaged.
    #[error("the record {path} cannot be understood: damaged, or of another release")]
    Malformed {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file of a record cannot be made, read or removed.
    #[error("cannot {step} {path}")]
    File {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RecordError + 'a {
    move |source| RecordError::File {
        step,
        path: path.to_owned(),
        source,
    }
}

/// All records of a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    home: Home,
}

/// The record of a VM this process supervises.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) dir: PathBuf,
    registry: Registry,
    _lock: File,
}

impl Registry {
    pub(crate) fn new(home: &Home) -> Self {
        Self { home: home.clone() }
    }

    /// Held while a record comes into being or goes, so that nobody sees half of one.
    fn lock(&self) -> Result<File, RecordError> {
        let path = self.home.vms().join(".lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(failed("open", &path))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| failed("lock", &path)(errno.into()))?;
        Ok(file)
    }

    /// Makes a record, with a name drawn if it has none.
    pub(crate) fn create(&self, mut record: Record) -> Result<Entry, RecordError> {
        let _guard = self.lock()?;
        let dir = if record.name.is_empty() {
            self.draw_name(&mut record)?
        } else {
            let dir = self.home.vms().join(&record.name);
            self.sweep_if_dead(&dir)?;
            make_dir(&dir)?.ok_or_else(|| RecordError::NameTaken(record.name.clone()))?
        };
        let lock = liveness::hold(&dir).map_err(failed("lock", &dir))?;
        let entry = Entry {
            record,
            dir,
            registry: self.clone(),
            _lock: lock,
        };
        if let Err(error) = entry.save() {
            let _ = fs::remove_dir_all(&entry.dir);
            return Err(error);
        }
        entry.keep_room();
        Ok(entry)
    }

    fn draw_name(&self, record: &mut Record) -> Result<PathBuf, RecordError> {
        for attempt in 0..MAX_DRAWS {
            record.name = names::generate(attempt);
            if let Some(dir) = make_dir(&self.home.vms().join(&record.name))? {
                return Ok(dir);
            }
        }
        Err(RecordError::NameTaken(record.name.clone()))
    }

    /// The record of a VM that has ended or was never started, for another life or name.
    pub(crate) fn reopen(&self, name: &str) -> Result<Entry, RecordError> {
        let _guard = self.lock()?;
        let (record, dir) = self.find(name)?;
        if Liveness::of(&dir).is_live() {
            return Err(RecordError::Running(record.name));
        }
        let lock = liveness::hold(&dir).map_err(failed("lock", &dir))?;
        // What its last supervisor wrote between the two looks.
        let record = read(&dir)?.ok_or_else(|| RecordError::NotFound(name.to_owned()))?;
        let entry = Entry {
            record,
            dir,
            registry: self.clone(),
            _lock: lock,
        };
        entry.keep_room();
        Ok(entry)
    }

    /// Every record, oldest first; those of dead supervisors that were to be removed are swept on the way.
    pub(crate) fn list(&self) -> Result<Vec<VmSummary>, RecordError> {
        self.sweep()?;
        let show =
            |(record, dir): (Record, PathBuf)| VmSummary::new(record, Liveness::of(&dir).is_live());
        let mut summaries: Vec<_> = self.readable()?.into_iter().map(show).collect();
        summaries.sort_by_key(|summary| summary.created);
        Ok(summaries)
    }

    /// The names of the VMs that have a volume, running or not.
    pub(crate) fn users_of_volume(&self, volume: &str) -> Result<Vec<String>, RecordError> {
        self.sweep()?;
        let has = |record: &Record| {
            let mut volumes = record.config.storage.volumes();
            volumes.any(|(name, _)| name == volume)
        };
        let records = self.readable()?.into_iter().map(|(record, _)| record);
        let mut names: Vec<_> = records.filter(has).map(|record| record.name).collect();
        names.sort();
        Ok(names)
    }

    /// The record of a name, an id or the unambiguous start of an id.
    pub(crate) fn find(&self, name: &str) -> Result<(Record, PathBuf), RecordError> {
        let not_found = || RecordError::NotFound(name.to_owned());
        if names::check(name).is_ok() {
            let dir = self.home.vms().join(name);
            if let Some(record) = read(&dir)? {
                return Ok((record, dir));
            }
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut found = None;
        for (record, dir) in self.readable()? {
            if record.id.starts_with(name) && found.replace((record, dir)).is_some() {
                return Err(RecordError::Ambiguous(name.to_owned()));
            }
        }
        found.ok_or_else(not_found)
    }

    pub(crate) fn summary(&self, name: &str) -> Result<VmSummary, RecordError> {
        let (record, dir) = self.find(name)?;
        let live = Liveness::of(&dir).is_live();
        // The supervisor may have written the end between the two looks.
        let record = if live {
            record
        } else {
            read(&dir)?.unwrap_or(record)
        };
        Ok(VmSummary::new(record, live))
    }

    pub(crate) fn details(&self, name: &str) -> Result<VmDetails, RecordError> {
        let (mut record, dir) = self.find(name)?;
        let live = Liveness::of(&dir).is_live();
        if !live {
            // The supervisor may have written the end between the two looks.
            record = read(&dir)?.unwrap_or(record);
        }
        Ok(VmDetails::new(&record, &dir, live))
    }

    /// Removes the record of a VM that has ended.
    pub(crate) fn remove(&self, name: &str) -> Result<(), RecordError> {
        let _guard = self.lock()?;
        let (record, dir) = self.find(name)?;
        if Liveness::of(&dir).is_live() {
            return Err(RecordError::Running(record.name));
        }
        remove_files(&dir)
    }

    /// Removes what supervisors that were killed left: records that were not to be kept, and
    /// half-made ones.
    pub(crate) fn sweep(&self) -> Result<(), RecordError> {
        let dead: Vec<_> = self
            .dirs()?
            .into_iter()
            .filter(|dir| !Liveness::of(dir).is_live())
            .collect();
        if dead.is_empty() {
            return Ok(());
        }
        let _guard = self.lock()?;
        dead.iter().try_for_each(|dir| self.sweep_if_dead(dir))
    }

    fn sweep_if_dead(&self, dir: &Path) -> Result<(), RecordError> {
        if !dir.exists() || Liveness::of(dir).is_live() {
            return Ok(());
        }
        match read(dir) {
            // One that was never started has no supervisor yet.
            Ok(Some(record)) if record.state == State::Created => Ok(()),
            Ok(Some(record)) if record.config.retention == Retention::Remove => remove_files(dir),
            Ok(Some(_)) => Ok(()),
            // Its maker died before it was written.
            Ok(None) => fs::remove_dir_all(dir).map_err(failed("remove", dir)),
            // A record we do not understand is not ours to remove.
            Err(_) => Ok(()),
        }
    }

    /// Every record that can be understood. One that cannot must not hide the others.
    fn readable(&self) -> Result<Vec<(Record, PathBuf)>, RecordError> {
        let understood = |dir: PathBuf| match read(&dir) {
            Ok(record) => Some((record?, dir)),
            Err(error) => {
                tracing::warn!(%error, "a VM is left out");
                None
            }
        };
        Ok(self.dirs()?.into_iter().filter_map(understood).collect())
    }

    fn dirs(&self) -> Result<Vec<PathBuf>, RecordError> {
        let vms = self.home.vms();
        let entries = fs::read_dir(&vms).map_err(failed("read", &vms))?;
        Ok(entries
            .flatten()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .collect())
    }
}

impl Entry {
    /// Writes the record as it is now.
    pub(crate) fn save(&self) -> Result<(), RecordError> {
        let path = self.dir.join(RECORD);
        let text = serde_json::to_vec(&self.record).map_err(|source| RecordError::Malformed {
            path: path.clone(),
            source,
        })?;
        write_atomically(&path, &text).map_err(failed("write", &path))
    }

    /// Writes the record as it is at the end of the VM: also when the disk is full, by the room that was kept.
    pub(crate) fn save_last(&self) -> Result<(), RecordError> {
        self.save().or_else(|error| {
            fs::remove_file(self.dir.join(ROOM)).map_err(|_| error)?;
            let saved = self.save();
            self.keep_room();
            saved
        })
    }

    /// Takes room for [`Entry::save_last`]. Without any left, the record is no worse off than others.
    fn keep_room(&self) {
        if self.record.config.retention == Retention::Keep {
            let path = self.dir.join(ROOM);
            if !path.exists() && fs::write(&path, [1; ROOM_BYTES]).is_err() {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Gives the VM another name. The directory moves with everything in it; who has it open does not notice.
    pub(crate) fn rename(&mut self, name: &str) -> Result<(), RecordError> {
        let _guard = self.registry.lock()?;
        let dir = self.registry.home.vms().join(name);
        self.registry.sweep_if_dead(&dir)?;
        // An empty directory gives way to another; a record is never empty.
        if dir.exists() {
            return Err(RecordError::NameTaken(name.to_owned()));
        }
        fs::rename(&self.dir, &dir).map_err(failed("rename", &self.dir))?;
        self.dir = dir;
        name.clone_into(&mut self.record.name);
        self.save()
    }

    /// Removes the record and everything in it.
    pub(crate) fn remove(&self) -> Result<(), RecordError> {
        let _guard = self.registry.lock()?;
        remove_files(&self.dir)
    }
}

fn remove_files(dir: &Path) -> Result<(), RecordError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// Makes a directory; `None` if there is one.
fn make_dir(dir: &Path) -> Result<Option<PathBuf>, RecordError> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(Some(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(failed("make", dir)(error)),
    }
}

/// The record of a directory; `None` if it has none (yet, or any more).
fn read(dir: &Path) -> Result<Option<Record>, RecordError> {
    let path = dir.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let mut record: Record =
        serde_json::from_slice(&text).map_err(|source| RecordError::Malformed {
            path: path.clone(),
            source,
        })?;
    // The directory is the name. They differ where somebody who renamed it died in between.
    if let Some(name) = dir.file_name().and_then(|name| name.to_str()) {
        name.clone_into(&mut record.name);
    }
    if record.version != VERSION {
        let source = serde::de::Error::custom(format!("version {}", record.version));
        return Err(RecordError::Malformed { path, source });
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::super::{State, VmStatus};
    use super::*;
    use crate::config::VmConfig;
    use crate::home::random_hex;
    use crate::workload::{Defaults, ImageDefaults};

    fn registry() -> (tempfile::TempDir, Registry) {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        (temporary, Registry::new(&home))
    }

    fn record(config: &VmConfig) -> Record {
        let defaults = Defaults::new(&ImageDefaults::default(), config, "h").unwrap();
        Record::new(
            config,
            ("busybox", "sha256:0"),
            vec!["sh".into()],
            defaults,
            random_hex(64),
        )
    }

    fn kept(name: &str) -> Record {
        record(&VmConfig::new().name(name).retention(Retention::Keep))
    }

    #[test]
    fn a_record_is_found_by_name_id_and_start_of_id() {
        let (_temporary, registry) = registry();
        let entry = registry.create(kept("web")).unwrap();
        let id = entry.record.id.clone();
        for name in ["web", &id, &id[..12]] {
            assert_eq!(registry.find(name).unwrap().0, entry.record, "{name}");
        }
        for name in ["", "we", "nope", "../web", "zz"] {
            assert!(
                matches!(registry.find(name), Err(RecordError::NotFound(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_taken_name_is_refused_while_its_vm_runs_and_after() {
        let (_temporary, registry) = registry();
        let entry = registry.create(kept("web")).unwrap();
        assert!(matches!(
            registry.create(kept("web")),
            Err(RecordError::NameTaken(_))
        ));
        assert!(matches!(
            registry.remove("web"),
            Err(RecordError::Running(_))
        ));
        drop(entry);
        assert!(matches!(
            registry.create(kept("web")),
            Err(RecordError::NameTaken(_))
        ));
        registry.remove("web").unwrap();
        registry.create(kept("web")).unwrap();
    }

    #[test]
    fn a_kept_record_of_a_dead_supervisor_is_shown_as_crashed() {
        let (_temporary, registry) = registry();
        let mut entry = registry.create(kept("web")).unwrap();
        entry.record.state = State::Running { since_ns: 5 };
        entry.save().unwrap();
        assert!(matches!(
            registry.list().unwrap()[0].status,
            VmStatus::Running { .. }
        ));
        drop(entry);
        assert_eq!(registry.list().unwrap()[0].status, VmStatus::Crashed);
    }

    #[test]
    fn records_of_dead_supervisors_that_were_not_to_be_kept_are_swept() {
        let (_temporary, registry) = registry();
        let entry = registry.create(record(&VmConfig::new())).unwrap();
        fs::create_dir(registry.home.vms().join("half-made")).unwrap();
        assert_eq!(registry.list().unwrap().len(), 1);
        let dir = entry.dir.clone();
        drop(entry);
        assert_eq!(registry.list().unwrap(), []);
        assert!(!dir.exists());
        assert!(!registry.home.vms().join("half-made").exists());
    }

    #[test]
    fn a_swept_name_is_free_at_once() {
        let (_temporary, registry) = registry();
        drop(
            registry
                .create(record(&VmConfig::new().name("web")))
                .unwrap(),
        );
        registry
            .create(record(&VmConfig::new().name("web")))
            .unwrap();
    }

    #[test]
    fn a_record_of_another_release_is_an_error_and_stays() {
        let (_temporary, registry) = registry();
        let entry = registry.create(kept("web")).unwrap();
        let path = entry.dir.join(RECORD);
        drop(entry);
        fs::write(&path, r#"{"version": 99}"#).unwrap();
        assert!(matches!(
            registry.find("web"),
            Err(RecordError::Malformed { .. })
        ));
        registry.sweep().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn many_at_once_get_names_of_their_own() {
        let (_temporary, registry) = registry();
        let entries: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..8)
                            .map(|_| registry.create(record(&VmConfig::new())).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(registry.list().unwrap().len(), 64);
        entries.iter().try_for_each(Entry::remove).unwrap();
        assert_eq!(registry.list().unwrap(), []);
    }
}
