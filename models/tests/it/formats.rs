//! One model in several formats: the same weights give the same numbers however they lie on the disk.

use loader::fixture::{TinyModel, tiny_model, write_shards};

use crate::peer_models::prompt;
use crate::support::{executor, logits, open, written};

#[test]
fn a_split_file_computes_what_the_whole_one_does() {
    let file = tiny_model(&TinyModel { layers: 3, ..TinyModel::default() });
    let (_folder, whole) = written(&file);
    let expected = logits(&mut executor(), &whole, &prompt(), 24);
    for shards in [1, 2, 5, file.tensors.len()] {
        let folder = tempfile::tempdir().unwrap();
        let paths = write_shards(&file.split(shards), folder.path(), "tiny").unwrap();
        let split = open(&paths[shards - 1]);
        split.populate();
        assert_eq!(split.artifact().files().len(), shards);
        assert_eq!(logits(&mut executor(), &split, &prompt(), 24), expected, "{shards} shards");
        split.verify_unchanged().unwrap();
    }
}
