//! What lists of models tell of each: what its header says, read once for each version of its files.
//!
//! Reading takes milliseconds for a model, so a list of thousands reads as many as it has time for and tells the others by
//! name alone; what was read is remembered. No tokenizer is made and no weight is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use loader::ArtifactIdentity;
use loader::catalog::Entry;
use loader::gguf::{Format, Header};
use models::architecture;
use models::plan::{EncoderPlan, Network, Pooling};

use crate::limits::{FACTS_KEPT_FOR, FACTS_KEPT_MAX, FACTS_READ_MAX};

/// What a model's header says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) architecture: String,
    /// `gguf` or `safetensors`.
    pub(crate) format: &'static str,
    /// Numbers in all tensors.
    pub(crate) parameters: u64,
    /// As llama.cpp calls the mixture of types, or the type that takes the most bytes.
    pub(crate) quantization: String,
    /// Positions that it was trained for.
    pub(crate) context_length: usize,
    pub(crate) task: Task,
    /// Whether the files bring a chat template.
    pub(crate) has_template: bool,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// It goes on with texts.
    Generation,
    /// It makes vectors of them.
    Embedding,
    /// It scores documents by a query.
    Ranking,
}

/// The facts that are remembered.
#[derive(Debug)]
pub(crate) struct FactsKept(moka::sync::Cache<ArtifactIdentity, Option<Arc<Facts>>>);

impl FactsKept {
    pub(crate) fn new() -> Self {
        // What could not be read is not there for ever.
        Self(moka::sync::Cache::builder().max_capacity(FACTS_KEPT_MAX).time_to_live(FACTS_KEPT_FOR).build())
    }

    /// Of one model; none where its files cannot be served. Blocks on the file system.
    pub(crate) fn of(&self, entry: &Entry) -> Option<Arc<Facts>> {
        let identity = entry.identity().ok()?;
        self.0.get_with(identity, || read(entry).map(Arc::new))
    }

    /// Of several, in their order, as far as they are remembered or there is time to read them. Blocks on the file system.
    pub(crate) fn of_all(&self, entries: &[Entry]) -> Vec<Option<Arc<Facts>>> {
        self.of_all_within(entries, FACTS_READ_MAX)
    }

    fn of_all_within(&self, entries: &[Entry], time: Duration) -> Vec<Option<Arc<Facts>>> {
        let begun = Instant::now();
        let of_one = |entry: &Entry| match entry.identity().ok().and_then(|identity| self.0.get(&identity)) {
            Some(known) => known,
            None if begun.elapsed() < time => self.of(entry),
            None => None,
        };
        entries.iter().map(of_one).collect()
    }
}

/// Opens the files for a moment.
fn read(entry: &Entry) -> Option<Facts> {
    let artifact = entry.open().ok()?;
    let header = artifact.header();
    let (context_length, task) = match architecture::network(&artifact).ok()? {
        Network::Decoder(plan) => (plan.context_length, Task::Generation),
        Network::Encoder(EncoderPlan { pooling: Pooling::Rank(_), context_length, .. }) => {
            (context_length, Task::Ranking)
        }
        Network::Encoder(plan) => (plan.context_length, Task::Embedding),
    };
    Some(Facts {
        architecture: header.string("general.architecture").ok()??.to_owned(),
        format: match header.format() {
            Format::Gguf { .. } => "gguf",
            Format::Safetensors => "safetensors",
        },
        parameters: parameters(header),
        quantization: quantization(header),
        context_length,
        task,
        has_template: header.contains("tokenizer.chat_template"),
    })
}

/// Numbers in all tensors.
pub(crate) fn parameters(header: &Header) -> u64 {
    header.tensors().map(|tensor| tensor.dims.iter().product::<u64>()).fold(0, u64::saturating_add)
}

/// What `general.file_type` calls the mixture of types, or the type that takes the most bytes.
fn quantization(header: &Header) -> String {
    let named = header.u32("general.file_type").ok().flatten().and_then(file_type);
    if let Some(name) = named {
        return name.to_owned();
    }
    let mut types: Vec<(&'static str, u64)> = Vec::new();
    for tensor in header.tensors() {
        let name = tensor.ty.name();
        match types.iter_mut().find(|(other, _)| *other == name) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(tensor.bytes),
            None => types.push((name, tensor.bytes)),
        }
    }
    types.into_iter().max_by_key(|(_, bytes)| *bytes).map_or_else(String::new, |(name, _)| name.to_owned())
}

/// llama.cpp's names for its numbers of mixtures, of the types that are read here.
fn file_type(number: u32) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        25 => "IQ4_NL",
        30 => "IQ4_XS",
        32 => "BF16",
        _ => return None,
    })
}

impl Facts {
    /// The number of parameters as people say it: `134.5M`, `1.07B`.
    pub(crate) fn parameters_text(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let count = self.parameters as f64;
        match count {
            billions if billions >= 1e9 => format!("{:.2}B", billions / 1e9),
            millions if millions >= 1e6 => format!("{:.1}M", millions / 1e6),
            few => format!("{:.1}K", few / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use loader::catalog::{Catalog, CatalogOptions, LinkPolicy};
    use loader::fixture::{TinyEncoder, TinyModel, tiny_encoder, tiny_model};

    use super::*;

    #[test]
    fn a_header_tells_what_a_model_is_for() {
        let folder = tempfile::tempdir().unwrap();
        tiny_model(&TinyModel::default()).write_to(&folder.path().join("decoder.gguf")).unwrap();
        tiny_encoder(&TinyEncoder::default()).write_to(&folder.path().join("encoder.gguf")).unwrap();
        std::fs::write(folder.path().join("nothing.gguf"), "nothing").unwrap();
        let (roots, aliases) = (vec![folder.path().to_owned()], BTreeMap::new());
        let entries = Catalog::new(CatalogOptions { roots, aliases, links: LinkPolicy::Confined }).list();
        let kept = FactsKept::new();
        assert_eq!(kept.of_all_within(&entries, Duration::ZERO), [None, None, None], "there is no time for any");
        let facts = kept.of_all(&entries);
        assert_eq!(kept.of_all_within(&entries, Duration::ZERO), facts, "what was read takes none");
        let [Some(decoder), Some(encoder), None] = &facts[..] else { panic!("{facts:?}") };
        assert_eq!((decoder.task, decoder.context_length, decoder.format), (Task::Generation, 512, "gguf"));
        assert_eq!((encoder.task, encoder.architecture.as_str()), (Task::Embedding, "bert"));
        assert!(decoder.parameters > 0 && !decoder.quantization.is_empty(), "{decoder:?}");
        std::fs::remove_file(&entries[0].path).unwrap();
        assert_eq!(kept.of(&entries[0]), None, "it is not told of files that are gone");
    }

    #[test]
    fn parameters_are_told_as_people_say_them() {
        for (parameters, text) in [(134_515_008, "134.5M"), (1_074_000_000, "1.07B"), (12_345, "12.3K")] {
            let facts = Facts {
                architecture: String::new(),
                format: "gguf",
                parameters,
                quantization: String::new(),
                context_length: 1,
                task: Task::Generation,
                has_template: false,
            };
            assert_eq!(facts.parameters_text(), text);
        }
    }
}
