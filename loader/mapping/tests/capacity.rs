//! The guard's table and the descriptors do not leak. Alone in its process, because it fills the table.
#![cfg(unix)]

use std::fs;

use mapping::{MAPPINGS_MAX, MapError, MappedFile};

#[test]
fn the_table_and_the_descriptors_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fs::write(&path, [1; 5000]).unwrap();
    // The first map may open what stays open.
    drop(MappedFile::open(&path).unwrap());
    let descriptors = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = || fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.matches("model").count());
    let before = (descriptors(), maps());
    for _ in 0..5_000 {
        drop(MappedFile::open(&path).unwrap());
    }
    assert_eq!((descriptors(), maps()), before);

    let mut held: Vec<_> = (0..MAPPINGS_MAX).map(|_| MappedFile::open(&path).unwrap()).collect();
    assert!(matches!(MappedFile::open(&path), Err(MapError::TooManyMappings)));
    held.pop();
    held.push(MappedFile::open(&path).unwrap());
    drop(held);
    assert_eq!((descriptors(), maps()), before, "a refused map leaks nothing either");
}
