//! Ten thousand models: what a catalog of them takes. Alone in its process, because it counts what is allocated.
//!
//! Its times are told by `--nocapture`, and no test: see the catalog's page for what was measured.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use loader::catalog::{Catalog, CatalogOptions, LinkPolicy};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MODELS: usize = 10_000;
/// Bytes of memory that a model may take until it is first used.
const MODEL_BYTES_MAX: isize = 2048;

fn name(number: usize) -> String {
    format!("some-model-{number:05}-instruct-q4_k_m")
}

/// Models in `folders` folders below `root`, all of them links to one small file, and all long ago.
fn write(root: &Path, folders: usize) {
    let original = root.join("original");
    fs::write(&original, "GGUF").unwrap();
    let folder = |number: usize| root.join(format!("organisation-{:04}", number % folders));
    for number in 0..MODELS {
        fs::create_dir_all(folder(number)).unwrap();
        fs::hard_link(&original, folder(number).join(format!("{}.gguf", name(number)))).unwrap();
    }
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3600));
    for folder in (0..folders).map(folder).chain([root.to_owned()]) {
        File::open(folder).unwrap().set_times(old).unwrap();
    }
}

#[test]
fn a_model_takes_little_memory_until_it_is_used() {
    for folders in [1, 1000] {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), folders);
        let roots = vec![root.path().to_owned()];
        let catalog = Catalog::new(CatalogOptions { roots, aliases: BTreeMap::new(), links: LinkPolicy::Confined });
        let timed = |what: &str, ask: &dyn Fn()| {
            let begin = Instant::now();
            ask();
            println!("{folders} folders, {what}: {:?}", begin.elapsed());
        };
        let region = Region::new(COUNTING);
        timed("the first, with a scan", &|| drop(catalog.resolve(&name(77)).unwrap()));
        let change = region.change();
        let allocated = change.bytes_allocated.cast_signed() - change.bytes_deallocated.cast_signed();
        let model_bytes = (allocated + change.bytes_reallocated) / MODELS.cast_signed();
        println!("{folders} folders: {model_bytes} bytes a model");
        assert!((1..=MODEL_BYTES_MAX).contains(&model_bytes), "{model_bytes} bytes a model");
        timed("100 more", &|| (0..100).for_each(|number| drop(catalog.resolve(&name(number)).unwrap())));
        timed("one that is none", &|| assert!(catalog.resolve("none").is_err()));
        timed("all", &|| assert_eq!(catalog.list().len(), MODELS));
    }
}
