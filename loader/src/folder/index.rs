//! `model.safetensors.index.json`: which shard each tensor is in, as a check of what the shards themselves say.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::FolderError;
use crate::gguf::shown;

/// Compares an index with the tensors of the shards, by name with the shard's file name.
pub(super) fn check(index: &[u8], found: &HashMap<&str, &str>) -> Result<(), FolderError> {
    let mut json = serde_json::Deserializer::from_slice(index);
    let listed = Index { found }.deserialize(&mut json)?;
    json.end()?;
    match listed {
        Listed { differs: Some(tensor), .. } => Err(FolderError::Index { tensor }),
        Listed { tensors, .. } if tensors != found.len() => {
            let what = format!("{tensors} of {} are listed", found.len());
            Err(FolderError::Index { tensor: what })
        }
        _ => Ok(()),
    }
}

/// What came of comparing.
#[derive(Default)]
struct Listed {
    tensors: usize,
    differs: Option<String>,
}

struct Index<'a> {
    found: &'a HashMap<&'a str, &'a str>,
}

impl<'de> DeserializeSeed<'de> for Index<'_> {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Index<'_> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = Listed::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "weight_map" => listed = map.next_value_seed(WeightMap(self.found))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(listed)
    }
}

struct WeightMap<'a>(&'a HashMap<&'a str, &'a str>);

impl<'de> DeserializeSeed<'de> for WeightMap<'_> {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file names by tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = Listed::default();
        while let Some(tensor) = map.next_key::<String>()? {
            let file: FileName = map.next_value()?;
            listed.tensors += 1;
            if self.0.get(tensor.as_str()) != Some(&file.0.as_str()) {
                listed.differs.get_or_insert_with(|| shown(&tensor));
            }
        }
        Ok(listed)
    }
}

#[derive(Deserialize)]
struct FileName(String);
