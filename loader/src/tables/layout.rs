//! How tables lie in a file.
//!
//! A head of 64-bit little-endian words, then the tables' bytes one behind the other and nothing else:
//!
//! | word | what |
//! |---|---|
//! | 0 | `dayfly-t`, and in it the version of this layout |
//! | 1 to 7 | the key |
//! | 8 | number of tables |
//! | then for each table | bytes of an element (1 or 4), number of elements, XXH3 of its bytes |
//! | last | XXH3 of all words before |

use std::fs::File;
use std::io::{self, Read, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::{Table, TablesKey};
use crate::limits::{TABLES_FILE_BYTES_MAX, TABLES_MAX};

/// The last letter counts versions.
const MAGIC: u64 = u64::from_le_bytes(*b"dayfly-a");
const KEY_WORDS: usize = 7;
/// In front of the descriptions of tables.
const FIXED_WORDS: usize = 1 + KEY_WORDS + 1;
const WORDS_A_TABLE: usize = 3;

/// The head of a file with `tables`.
pub(super) fn head(key: &TablesKey, tables: &[Table<'_>]) -> io::Result<Vec<u8>> {
    let mut words = vec![MAGIC];
    words.extend(key.words);
    words.push(tables.len() as u64);
    for table in tables {
        let element_bytes: u64 = if matches!(table, Table::Bytes(_)) { 1 } else { 4 };
        let bytes = stored(table);
        words.extend([element_bytes, bytes.len() as u64 / element_bytes, xxh3_64(bytes)]);
    }
    let data_bytes: u64 = tables.iter().map(|table| stored(table).len() as u64).sum();
    let mut head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    head.extend(xxh3_64(&head).to_le_bytes());
    if tables.len() > TABLES_MAX || head.len() as u64 + data_bytes > TABLES_FILE_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(head)
}

/// Writes what [`read`] reads.
pub(super) fn write(file: &mut File, head: &[u8], tables: &[Table<'_>]) -> io::Result<()> {
    file.write_all(head)?;
    tables.iter().try_for_each(|table| file.write_all(stored(table)))
}

/// A table's bytes as they are stored.
#[cfg(target_endian = "little")]
fn stored<'a>(table: &'a Table<'_>) -> &'a [u8] {
    match table {
        Table::Bytes(bytes) => bytes,
        Table::Words(words) => bytemuck::cast_slice(words),
    }
}

#[cfg(not(target_endian = "little"))]
compile_error!("tables are kept as they lie in memory, which is little-endian everywhere that we run");

/// The tables in `file`, if they are those of `key` to the last bit. No more memory is taken than the file is long.
pub(super) fn read(mut file: &File, key: &TablesKey) -> Option<Vec<Table<'static>>> {
    let file_bytes = file.metadata().ok()?.len();
    if file_bytes > TABLES_FILE_BYTES_MAX {
        return None;
    }
    let mut head = vec![0; FIXED_WORDS * 8];
    file.read_exact(&mut head).ok()?;
    let fixed = words(&head);
    let count = usize::try_from(fixed[FIXED_WORDS - 1]).ok().filter(|count| *count <= TABLES_MAX)?;
    if fixed[0] != MAGIC || fixed[1..=KEY_WORDS] != key.words {
        return None;
    }
    head.resize((FIXED_WORDS + WORDS_A_TABLE * count + 1) * 8, 0);
    file.read_exact(&mut head[FIXED_WORDS * 8..]).ok()?;
    let all = words(&head);
    let (digest, described) = all.split_last()?;
    if *digest != xxh3_64(&head[..head.len() - 8]) {
        return None;
    }
    let described = described[FIXED_WORDS..].as_chunks::<WORDS_A_TABLE>().0;
    let data_bytes = described
        .iter()
        .try_fold(0_u64, |sum, &[element_bytes, elements, _]| sum.checked_add(elements.checked_mul(element_bytes)?))?;
    if data_bytes != file_bytes.checked_sub(head.len() as u64)? {
        return None;
    }
    described.iter().map(|&description| table(file, description)).collect()
}

fn table(mut file: &File, [element_bytes, elements, digest]: [u64; WORDS_A_TABLE]) -> Option<Table<'static>> {
    let elements = usize::try_from(elements).ok()?;
    let (table, found) = match element_bytes {
        1 => {
            let mut bytes = vec![0_u8; elements];
            file.read_exact(&mut bytes).ok()?;
            let found = xxh3_64(&bytes);
            (Table::Bytes(bytes.into()), found)
        }
        4 => {
            let mut words = vec![0_u32; elements];
            file.read_exact(bytemuck::cast_slice_mut(&mut words)).ok()?;
            let found = xxh3_64(bytemuck::cast_slice(&words));
            (Table::Words(words.into()), found)
        }
        _ => return None,
    };
    (found == digest).then_some(table)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}
