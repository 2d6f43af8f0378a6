//! Joining the headers of a split file's shards: the metadata of the first, the tensors of all.
//!
//! Source: llama.cpp's gguf-split (`split.no` counts from 0; the others state the counts of shards and tensors).

use super::header::{Header, Tensor};
use super::names::Names;
use super::{FormatError, shown};
use crate::limits::TENSORS_MAX;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Headers of shards, joined one after another.
#[derive(Debug)]
pub(crate) struct Join {
    first: Header,
    shards: u32,
    added: u32,
    names: Names,
    tensors: Vec<Tensor>,
    tensors_announced: usize,
}

impl Join {
    /// Begins with the first of `shards` shards.
    pub(crate) fn new(first: Header, shards: u32) -> Result<Self, FormatError> {
        let announced = integer(&first, TENSORS)?;
        let tensors_announced = match usize::try_from(announced) {
            Ok(count) if announced <= TENSORS_MAX => count,
            _ => return Err(FormatError::CountTooLarge { what: TENSORS, count: announced, limit: TENSORS_MAX }),
        };
        let names = Names::with_capacity(tensors_announced);
        let mut join = Self { first, shards, added: 0, names, tensors: Vec::new(), tensors_announced };
        let (names, tensors) = (std::mem::take(&mut join.first.tensor_names), std::mem::take(&mut join.first.tensors));
        join.check(&join.first)?;
        join.take(&names, &tensors)?;
        Ok(join)
    }

    /// Adds the next shard.
    pub(crate) fn add(&mut self, shard: &Header) -> Result<(), FormatError> {
        self.check(shard)?;
        self.first.file_bytes = self.first.file_bytes.saturating_add(shard.file_bytes);
        self.take(&shard.tensor_names, &shard.tensors)
    }

    /// The header of all.
    pub(crate) fn finish(self) -> Result<Header, FormatError> {
        if self.tensors.len() != self.tensors_announced {
            let (found, expected) = (self.tensors_announced as u64, self.tensors.len() as u64);
            return Err(FormatError::ShardMismatch { key: TENSORS, found, expected });
        }
        Ok(Header { tensor_names: self.names, tensors: self.tensors, ..self.first })
    }

    fn check(&self, shard: &Header) -> Result<(), FormatError> {
        let expected = [
            (NUMBER, u64::from(self.added)),
            (COUNT, u64::from(self.shards)),
            (TENSORS, self.tensors_announced as u64),
        ];
        for (key, expected) in expected {
            let found = integer(shard, key)?;
            if found != expected {
                return Err(FormatError::ShardMismatch { key, found, expected });
            }
        }
        Ok(())
    }

    fn take(&mut self, names: &Names, tensors: &[Tensor]) -> Result<(), FormatError> {
        let together = self.tensors.len() + tensors.len();
        if together > self.tensors_announced {
            let (found, expected) = (self.tensors_announced as u64, together as u64);
            return Err(FormatError::ShardMismatch { key: TENSORS, found, expected });
        }
        for (number, tensor) in tensors.iter().enumerate() {
            let name = names.get(number);
            self.names.add(name).ok_or_else(|| FormatError::DuplicateTensor { tensor: shown(name) })?;
            self.tensors.push(Tensor { file: self.added, ..*tensor });
        }
        self.added += 1;
        Ok(())
    }
}

fn integer(header: &Header, key: &'static str) -> Result<u64, FormatError> {
    header.u64(key)?.ok_or(FormatError::ShardKeyMissing { key })
}

/// Refuses a shard that is read as if it were a whole file.
pub(crate) fn check_whole(header: &Header) -> Result<(), FormatError> {
    match header.u64(COUNT)? {
        Some(found) if found > 1 => Err(FormatError::ShardMismatch { key: COUNT, found, expected: 1 }),
        _ => Ok(()),
    }
}
