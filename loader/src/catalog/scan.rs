//! One look over the roots: what is there, and how to tell that it still is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{CatalogOptions, LinkPolicy, Shadowed};
use crate::artifact::{ArtifactFiles, ShardName};
use crate::folder;
use crate::limits::{CATALOG_DEPTH_MAX, CATALOG_ENTRIES_MAX, CATALOG_RACY_WINDOW};

/// Something called `*.gguf`, all shards of one together, or a folder of safetensors.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// As found, below the root's true path.
    pub(super) files: ArtifactFiles,
    /// The root's true path.
    pub(super) root: PathBuf,
}

/// The result of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) found: BTreeMap<String, Found>,
    pub(super) shadowed: Vec<Shadowed>,
    /// The first directory that could not be read, although it exists.
    pub(super) unreadable: Option<(PathBuf, io::Error)>,
    warnings: BTreeSet<String>,
    folders: Vec<Folder>,
}

/// A directory that was read, or a root that was not there.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    stamp: Option<Stamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: SystemTime,
    /// The directory changed so shortly before it was read that a later change may carry the same time.
    racy: bool,
}

impl Scan {
    pub(super) fn of(options: &CatalogOptions) -> Self {
        let scan = Self {
            found: BTreeMap::new(),
            shadowed: Vec::new(),
            unreadable: None,
            warnings: BTreeSet::new(),
            folders: Vec::new(),
        };
        let mut walk = Walk { scan, links: options.links, entries_left: CATALOG_ENTRIES_MAX, visited: BTreeSet::new() };
        for root in &options.roots {
            walk.root(root);
        }
        walk.scan
    }

    /// Whether every directory still has the time at which it was read.
    pub(super) fn is_current(&self) -> bool {
        self.unreadable.is_none()
            && self.folders.iter().all(|folder| match (&folder.stamp, stamp(&folder.path)) {
                (Some(then), Ok(now)) => !then.racy && Stamp { racy: false, ..now } == *then,
                (None, Err(error)) => error.kind() == io::ErrorKind::NotFound,
                _ => false,
            })
    }

    /// Logs the warnings that `previous` did not have.
    pub(super) fn warn_of_news(&self, previous: Option<&Self>) {
        for warning in &self.warnings {
            if previous.is_none_or(|previous| !previous.warnings.contains(warning)) {
                tracing::warn!("{warning}");
            }
        }
    }
}

/// Whether `path`, all links resolved, lies inside `root` (a true path).
pub(super) fn ends_inside(path: &Path, root: &Path) -> bool {
    // A path that is gone is not outside: opening it will say so.
    fs::canonicalize(path).map_or(true, |path| path.starts_with(root))
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    let modified = metadata.modified()?;
    let racy = SystemTime::now().checked_sub(CATALOG_RACY_WINDOW).is_none_or(|safe| modified >= safe);
    Ok(Stamp { device: metadata.dev(), inode: metadata.ino(), modified, racy })
}

/// What a folder may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A models directory itself: what lies in it are models.
    Root,
    /// A folder, which may be a model.
    Folder,
    /// A folder of a model: a part of it, if anything.
    InModel,
}

struct Walk {
    scan: Scan,
    links: LinkPolicy,
    entries_left: usize,
    /// Directories by device and inode: each is read once, so that links cannot run in circles.
    visited: BTreeSet<(u64, u64)>,
}

impl Walk {
    /// Reads a root level by level, so that the shallower file is met first.
    fn root(&mut self, root: &Path) {
        let true_root = match fs::canonicalize(root) {
            Ok(path) => path,
            Err(error) => return self.failed(root, error),
        };
        let mut level = vec![(true_root.clone(), Place::Root)];
        for depth in 0.. {
            let mut next = Vec::new();
            for (folder, place) in &level {
                next.extend(self.folder(folder, *place, &true_root));
            }
            if next.is_empty() {
                return;
            }
            if depth == CATALOG_DEPTH_MAX {
                self.warn(format!("{}: folders deeper than {CATALOG_DEPTH_MAX} are not looked at", root.display()));
                return;
            }
            level = next;
        }
    }

    /// Takes note of a folder's files, or of itself; returns its folders, sorted.
    fn folder(&mut self, folder: &Path, place: Place, root: &Path) -> Vec<(PathBuf, Place)> {
        // The time is taken before the entries are: a change in between shows as a change.
        let stamp = match stamp(folder) {
            Ok(stamp) => stamp,
            Err(error) => {
                self.failed(folder, error);
                return Vec::new();
            }
        };
        if !self.visited.insert((stamp.device, stamp.inode)) {
            return Vec::new();
        }
        self.scan.folders.push(Folder { path: folder.into(), stamp: Some(stamp) });
        let entries = match self.entries(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.failed(folder, error);
                return Vec::new();
            }
        };
        let mut below = if place == Place::InModel { Place::InModel } else { Place::Folder };
        if place == Place::Folder {
            let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
            if let Some(files) = folder::files(folder, names) {
                self.model(folder::name(folder), files, root);
                below = Place::InModel;
            }
        }
        let mut folders = Vec::new();
        for path in entries {
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
                self.file(&path, root);
            } else if self.descends(&path) {
                folders.push((path, below));
            }
        }
        self.put_main_first(folder, &mut folders);
        folders
    }

    /// Of the snapshots of one repository in a Hugging Face cache, the one that its main branch is now comes first, and so
    /// has the name; without it the first by path. The file that tells is watched as folders are.
    fn put_main_first(&mut self, folder: &Path, snapshots: &mut [(PathBuf, Place)]) {
        /// A commit has 40.
        const REFERENCE_BYTES_MAX: u64 = 128;
        let Some(repository) = folder::repository_of_snapshots(folder) else { return };
        let path = repository.join("refs/main");
        let Ok(stamp) = stamp(&path) else { return self.scan.folders.push(Folder { path, stamp: None }) };
        self.scan.folders.push(Folder { path: path.clone(), stamp: Some(stamp) });
        // A link, or what is no file, tells nothing.
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return;
        }
        let mut main = String::new();
        let read =
            mapping::open_regular(&path).map(|(file, _)| file.take(REFERENCE_BYTES_MAX).read_to_string(&mut main));
        if !matches!(read, Ok(Ok(_))) {
            return;
        }
        let is_main = |(path, _): &(PathBuf, Place)| path.file_name().is_some_and(|name| name == main.trim());
        if let Some(place) = snapshots.iter().position(is_main) {
            snapshots[..=place].rotate_right(1);
        }
    }

    /// The paths in a folder that do not start with a dot, sorted.
    fn entries(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry: DirEntry = entry?;
            if self.entries_left == 0 {
                self.warn(format!(
                    "{}: more than {CATALOG_ENTRIES_MAX} entries, the rest is not looked at",
                    folder.display()
                ));
                break;
            }
            self.entries_left -= 1;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(entry.path());
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn descends(&self, path: &Path) -> bool {
        match self.links {
            LinkPolicy::Confined => path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()),
            LinkPolicy::Followed => path.is_dir(),
        }
    }

    fn file(&mut self, path: &Path, root: &Path) {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let name = stem.map(|stem| ShardName::parse(stem).map_or(stem, |shard| shard.prefix));
        self.model(name, ArtifactFiles::gguf(path), root);
    }

    fn model(&mut self, name: Option<&str>, files: ArtifactFiles, root: &Path) {
        let name = match name {
            Some(name) if !name.contains(char::is_control) => name.to_owned(),
            _ => {
                let path = files.path;
                return self.warn(format!("{path:?}: the name is not printable text, so the file cannot be asked for"));
            }
        };
        match self.scan.found.get(&name) {
            None => {
                self.scan.found.insert(name, Found { files, root: root.into() });
            }
            // Another shard of the same.
            Some(kept) if kept.files == files => {}
            Some(kept) => {
                let shadowed = Shadowed { name, kept: kept.files.path.clone(), ignored: files.path };
                let (kept, ignored) = (shadowed.kept.display(), shadowed.ignored.display());
                let warning = format!("{:?} means {kept}, so {ignored} cannot be asked for", shadowed.name);
                if self.scan.shadowed.last() != Some(&shadowed) {
                    self.scan.shadowed.push(shadowed);
                }
                self.warn(warning);
            }
        }
    }

    /// A directory that does not exist is watched for; any other failure is remembered.
    fn failed(&mut self, path: &Path, error: io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            self.scan.folders.push(Folder { path: path.into(), stamp: None });
            return;
        }
        self.warn(format!("{}: {error}", path.display()));
        self.scan.unreadable.get_or_insert((path.into(), error));
    }

    fn warn(&mut self, warning: String) {
        self.scan.warnings.insert(warning);
    }
}
