//! Which models there are: names to files in the models directories.
//!
//! A name is a file's stem as it is written (`*.gguf`, the extension in any case), or an alias of one (an alias whose model is
//! not there leaves its name to a file that is called so); the shards of a
//! split file are one model, called by what stands before their numbers; a folder of safetensors is one, called by the
//! folder's name (in a Hugging Face cache the repository's). Names from
//! requests are only ever looked up among the names that a scan found; they never become part of a path, so `../`,
//! `%2e`, NUL and absolute paths are names that do not exist, whatever exists on the disk.
//!
//! Invariants:
//! - What [`Catalog::resolve`] returns was looked at just then: deleted files are not found, sizes are current.
//! - The first root wins; within a root the shallower file, then the one whose path sorts first; among the snapshots of a
//!   repository in a Hugging Face cache the one that `refs/main` names. What was shadowed is logged and kept in
//!   [`Catalog::shadowed`].
//! - A scan is repeated when a directory's modification time moved, or was too fresh to tell. Whether one did is looked at
//!   for every question, unless that takes more than a millisecond (some hundred folders do): then a name that is known
//!   is believed to mean the same files for up to [`CATALOG_STALE_MAX`]. All that can be missed so long is that another
//!   file has come to win over them; new names and files that are gone are seen at once, and [`Catalog::list`] always
//!   looks.
//! - There is one look at a time, and it answers everyone who asked before it began: however many ask for names that are
//!   none, that is all that they cost, and a name that is known waits for none of it.
//! - Folders and links are bounded by [`limits`](crate::limits); names that start with a dot are not looked at, which is
//!   where pulls in progress live.
//!
//! Ten thousand models, in one folder or in a thousand, on a busy machine (a test has them): 45 ms for a scan, 4 µs for a
//! name that is known, 3 ms for one that is not, 75 ms for the list; 630 bytes of memory each.
//!
//! Deliberately absent: watching (inotify loses events and sees no network mounts), reading files.

mod remove;
mod scan;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::scan::{Found, Scan};
use crate::artifact::{Artifact, ArtifactFiles, ArtifactIdentity, OpenError};
use crate::gguf::Header;
use crate::limits::{CATALOG_CHECK_FREE, CATALOG_CHECK_PAUSE, CATALOG_STALE_MAX, NAME_BYTES_MAX};

/// Where to look, and what to accept.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    /// Models directories, the most important first. One that does not exist (yet) is empty.
    pub roots: Vec<PathBuf>,
    /// Further names, each for a file's stem. They win over stems; they do not chain.
    pub aliases: BTreeMap<String, String>,
    /// What links may do.
    pub links: LinkPolicy,
}

/// What symbolic links inside a root may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPolicy {
    /// Files may be links as long as they end inside the root that they were found in (a Hugging Face cache as a root
    /// works). Links to folders are not descended into.
    #[default]
    Confined,
    /// Links may lead anywhere, folders too; cycles end.
    Followed,
}

/// One model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file's stem or the folder's name: the model's one true name, also if it was asked for by an alias.
    pub name: String,
    /// The file, the first of its shards or the folder, with all links resolved; of a model that cannot be served, the
    /// file that is at fault, as it was found.
    pub path: PathBuf,
    /// Length of its weights; 0 for what cannot be served.
    pub size_bytes: u64,
    /// Whether it can be opened at all.
    pub kind: EntryKind,
    /// All its files, links resolved.
    files: ArtifactFiles,
    /// The root it was found in, against which links are checked again when it is opened.
    root: Option<PathBuf>,
}

/// What kind of thing carries a model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory, FIFO, socket or device. Opening it is a load-fail.
    NotAFile,
    /// A link out of its root under [`LinkPolicy::Confined`]. Opening it is a load-fail.
    LinkLeavesRoot,
    /// One of several files that is not there. Opening it is a load-fail.
    Missing,
}

impl Entry {
    /// Maps the files and validates their header.
    ///
    /// # Errors
    /// As [`Artifact::open`], and [`OpenError::LinkLeavesRoot`].
    pub fn open(&self) -> Result<Artifact, OpenError> {
        self.check()?;
        Artifact::open_files(&self.files)
    }

    /// As [`Artifact::open_with_header`], for a header that was kept.
    ///
    /// # Errors
    /// As [`Entry::open`].
    pub fn open_with_header(&self, identity: &ArtifactIdentity, header: Arc<Header>) -> Result<Artifact, OpenError> {
        self.check()?;
        Artifact::open_with_header(&self.files, identity, header)
    }

    /// Which version of the files is there now, without opening them.
    ///
    /// # Errors
    /// As [`Entry::open`], but for what the files hold.
    pub fn identity(&self) -> Result<ArtifactIdentity, OpenError> {
        self.check()?;
        self.files.identity()
    }

    /// How many bytes of the files with tensors are in the page cache now, whoever has brought them there. Reads none.
    ///
    /// `None` where the files cannot be looked at, or the system does not tell.
    #[must_use]
    pub fn cached_bytes(&self) -> Option<u64> {
        self.check().ok()?;
        self.files.cached_bytes()
    }

    /// Every file, links resolved, with its path in a models directory in which a copy has the same name as this.
    ///
    /// # Errors
    /// As [`Entry::identity`].
    pub fn placed_files(&self) -> Result<Vec<(PathBuf, &Path)>, OpenError> {
        self.check()?;
        Ok(self.files.placed_as(&self.name))
    }

    /// Refuses what is no file or has become a link out of the root since it was resolved.
    fn check(&self) -> Result<(), OpenError> {
        let path = || self.path.clone();
        match self.kind {
            EntryKind::NotAFile => Err(OpenError::NotARegularFile { path: path() }),
            EntryKind::LinkLeavesRoot => Err(OpenError::LinkLeavesRoot { path: path() }),
            EntryKind::Missing => Err(OpenError::MissingPart { path: path() }),
            EntryKind::File => {
                let Some(root) = &self.root else { return Ok(()) };
                match self.files.paths().find(|path| !scan::ends_inside(path, root)) {
                    Some(path) => Err(OpenError::LinkLeavesRoot { path: path.to_owned() }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A file whose name was taken by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The name.
    pub name: String,
    /// What it means.
    pub kept: PathBuf,
    /// What it does not.
    pub ignored: PathBuf,
}

/// Why a name leads to no entry.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// No model is called so.
    #[error("no model is called {name:?}")]
    NotFound {
        /// What was asked for, shortened to what a name may be.
        name: String,
    },
    /// None was found, but not everything could be looked at: the host's fault.
    #[error("{path}: the models directory could not be read")]
    Unreadable {
        /// The first directory that could not be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its files are not the models directory's own: they are not deleted.
    #[error("{path}: it is a link, or no file")]
    NotOurs {
        /// The first of them.
        path: PathBuf,
    },
    /// A file could not be deleted; others of the model may be gone.
    #[error("{path}: it could not be deleted")]
    NotRemoved {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The models of some directories, by name. `Sync`; calls touch the file system and may block on it.
#[derive(Debug)]
pub struct Catalog {
    options: CatalogOptions,
    /// Taken for a moment at a time.
    kept: Mutex<Option<Kept>>,
    /// Held by who looks.
    looking: Mutex<()>,
}

/// The last scan.
#[derive(Clone, Debug)]
struct Kept {
    scan: Arc<Scan>,
    /// When it was found to hold: when that look began, when it ended, and how long it took.
    begun: Instant,
    checked: Instant,
    check: Duration,
}

impl Kept {
    /// Whether it was looked at so lately that what it knows may be believed.
    fn is_fresh(&self) -> bool {
        self.check > CATALOG_CHECK_FREE
            && self.checked.elapsed() < (self.check * CATALOG_CHECK_PAUSE).min(CATALOG_STALE_MAX)
    }
}

impl Catalog {
    /// Nothing is looked at before the first question.
    #[must_use]
    pub fn new(options: CatalogOptions) -> Self {
        Self { options, kept: Mutex::new(None), looking: Mutex::new(()) }
    }

    /// The configured aliases: name to stem. Nothing says that the stem exists.
    #[must_use]
    pub fn aliases(&self) -> &BTreeMap<String, String> {
        &self.options.aliases
    }

    /// The files that `name` (a stem or an alias) means now.
    ///
    /// What carries the name but cannot be served (a FIFO, a link out of the root) is returned as such, and fails when
    /// it is opened.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`], alike for every name that is none; [`CatalogError::Unreadable`].
    pub fn resolve(&self, name: &str) -> Result<Entry, CatalogError> {
        let asked = Instant::now();
        let stem = self.options.aliases.get(name).map_or(name, String::as_str);
        let fresh = self.kept().as_ref().filter(|kept| kept.is_fresh()).map(|kept| Arc::clone(&kept.scan));
        if let Some(scan) = fresh
            && let Some(entry) = scan.found.get(stem).and_then(|found| self.look(stem, found))
        {
            return Ok(entry);
        }
        let scan = self.current(asked);
        let meant = [stem, name].into_iter();
        let mut there = meant.filter_map(|stem| self.look(stem, scan.found.get(stem)?));
        if let Some(entry) = there.next() {
            return Ok(entry);
        }
        match &scan.unreadable {
            Some((path, error)) => {
                // io::Error is not Clone; kind and message are what matters.
                let source = io::Error::new(error.kind(), error.to_string());
                Err(CatalogError::Unreadable { path: path.clone(), source })
            }
            None => Err(CatalogError::NotFound { name: shortened(name) }),
        }
    }

    /// All entries, sorted by name, those that cannot be served included.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let scan = self.current(Instant::now());
        scan.found.iter().filter_map(|(name, found)| self.look(name, found)).collect()
    }

    /// Files that a scan passed over because their name was taken.
    #[must_use]
    pub fn shadowed(&self) -> Vec<Shadowed> {
        self.current(Instant::now()).shadowed.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was there at `asked` or later: the last scan if it still held then or holds now, else a new one.
    fn current(&self, asked: Instant) -> Arc<Scan> {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.kept().clone();
        if let Some(kept) = previous.as_ref().filter(|kept| kept.begun >= asked) {
            return Arc::clone(&kept.scan);
        }
        let begun = Instant::now();
        let previous = previous.map(|kept| kept.scan);
        let scan = match previous {
            Some(scan) if scan.is_current() => scan,
            previous => {
                let scan = Scan::of(&self.options);
                scan.warn_of_news(previous.as_deref());
                Arc::new(scan)
            }
        };
        let checked = Instant::now();
        *self.kept() = Some(Kept { scan: Arc::clone(&scan), begun, checked, check: checked - begun });
        scan
    }

    /// What `found` is at this moment; `None` if it is gone.
    fn look(&self, name: &str, found: &Found) -> Option<Entry> {
        let refused = |path: &Path, kind| Entry {
            name: name.into(),
            path: path.into(),
            size_bytes: 0,
            kind,
            files: found.files.clone(),
            root: None,
        };
        let mut files = found.files.clone();
        files.keep_texts(|path| path.symlink_metadata().is_ok());
        let mut size_bytes = 0_u64;
        let (mut missing, mut present) = (None, 0);
        let weights = files.weights.iter_mut().map(|path| (true, path));
        for (is_weights, path) in weights.chain(files.texts.iter_mut().map(|(_, path)| (false, path))) {
            match self.look_at(path, &found.root) {
                Ok(Some((true_path, bytes))) => {
                    present += 1;
                    size_bytes = size_bytes.saturating_add(if is_weights { bytes } else { 0 });
                    *path = true_path;
                }
                Ok(None) => missing = missing.or_else(|| Some(path.clone())),
                Err(kind) => return Some(refused(path, kind)),
            }
        }
        match missing {
            Some(_) if present == 0 => None,
            Some(path) => Some(refused(&path, EntryKind::Missing)),
            None => {
                files.path = match files.is_folder() {
                    // Below a root's true path, and a folder that is a link is not looked into.
                    true if self.options.links == LinkPolicy::Confined => files.path,
                    true => std::fs::canonicalize(&files.path).ok()?,
                    false => files.weights[0].clone(),
                };
                let root = (self.options.links == LinkPolicy::Confined).then(|| found.root.clone());
                let path = files.path.clone();
                Some(Entry { name: name.into(), path, size_bytes, kind: EntryKind::File, files, root })
            }
        }
    }

    /// The true path and the length of the file at `path` below `root`; `None` if it is gone.
    fn look_at(&self, path: &Path, root: &Path) -> Result<Option<(PathBuf, u64)>, EntryKind> {
        let is_confined = self.options.links == LinkPolicy::Confined;
        // A scan descends into no links then, so that only the file itself can be one; whether that still holds is looked
        // at once more when it is opened.
        if is_confined
            && let Ok(metadata) = path.symlink_metadata()
            && metadata.is_file()
        {
            return Ok(Some((path.to_owned(), metadata.len())));
        }
        // Before anything behind the link is touched.
        let true_path = match std::fs::canonicalize(path) {
            Ok(true_path) => true_path,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => return Ok(None),
            // A link to nothing, or in circles.
            Err(_) => return Err(EntryKind::NotAFile),
        };
        if is_confined && !true_path.starts_with(root) {
            return Err(EntryKind::LinkLeavesRoot);
        }
        match std::fs::metadata(&true_path) {
            Ok(metadata) if metadata.is_file() => Ok(Some((true_path, metadata.len()))),
            Ok(_) => Err(EntryKind::NotAFile),
            Err(_) => Ok(None),
        }
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// A name from a request, short enough to be shown.
fn shortened(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].into()
}
