//! A tokenizer as tables that are kept between runs, and back.
//!
//! What is costly about a large vocabulary (its texts, where each is found, which join) is read as it is used; what is
//! cheap, and all that depends on single keys, is made anew from the header.
//!
//! Invariants: a tokenizer out of tables gives the ids of one that was made from the same header; whatever the tables
//! hold, it does not panic: every id in them is looked at.
//! Deliberately absent: tokenizers that the `tokenizers` crate runs, whose insides are its own.

use loader::gguf::Header;
use loader::tables::Table;

use super::bpe::Bpe;
use super::make::{Defaults, Entries, pre_tokenizer};
use super::spm::Spm;
use super::vocabulary::Vocabulary;
use super::{Kind, Tokenizer};

/// The version of what [`Tokenizer::tables`] gives: raised with every change of it, and of how it is made.
pub const TABLES_LAYOUT: u32 = 2;

const BYTES: u32 = 0;
const SPACES: u32 = 1;

impl Tokenizer {
    /// What to keep of this tokenizer; `None` of one that the `tokenizers` crate runs.
    #[must_use]
    pub fn tables(&self) -> Option<Vec<Table<'_>>> {
        let mut tables = Vec::new();
        let kind = match &self.kind {
            Kind::Bytes(_) => BYTES,
            Kind::Spaces(_) => SPACES,
            Kind::Library(_) => return None,
        };
        tables.push(Table::Words(vec![kind].into()));
        self.vocabulary.push_tables(&mut tables);
        match &self.kind {
            Kind::Bytes(bpe) => bpe.push_tables(&mut tables),
            Kind::Spaces(spm) => spm.push_tables(&mut tables),
            Kind::Library(_) => {}
        }
        Some(tables)
    }

    /// The tokenizer of `header` out of the `tables` of one that was made from it; `None` if they cannot be.
    #[must_use]
    pub fn from_tables(header: &Header, tables: Vec<Table<'static>>) -> Option<Self> {
        let mut tables = tables.into_iter();
        let kind = tables.next()?.into_words()?;
        let vocabulary = Vocabulary::from_tables(&mut tables)?;
        let (kind, defaults) = match kind[..] {
            [BYTES] => {
                let pre_tokenizer = pre_tokenizer(header).ok()?;
                let bpe = Bpe::from_tables(&mut tables, &vocabulary, pre_tokenizer)?;
                (Kind::Bytes(bpe), Defaults::of_bytes(pre_tokenizer))
            }
            [SPACES] => {
                let spm = Spm::from_tables(&mut tables, header, &vocabulary)?;
                let defaults = Defaults::of_spaces(&spm);
                (Kind::Spaces(spm), defaults)
            }
            _ => return None,
        };
        if tables.next().is_some() {
            return None;
        }
        Self::with(header, Entries::of(vocabulary).ok()?, kind, defaults).ok()
    }
}
