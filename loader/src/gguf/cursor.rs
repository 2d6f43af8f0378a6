//! A bounded reader over a header's bytes: everything it returns was there.

use super::FormatError;
use crate::limits::HEADER_BYTES_MAX;

/// A position in the file, which never passes the end of the file or of the largest header.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    /// The first byte that may not be read.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let limit = usize::try_from(HEADER_BYTES_MAX).unwrap_or(usize::MAX);
        Self { bytes, position: 0, end: bytes.len().min(limit) }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that a header may still take.
    pub(super) fn remaining(&self) -> u64 {
        (self.end - self.position) as u64
    }

    pub(super) fn take(&mut self, count: u64, what: &'static str) -> Result<&'a [u8], FormatError> {
        if count > self.remaining() {
            return Err(self.past_end(count, what));
        }
        let start = self.position;
        self.position += usize::try_from(count).expect("no more than remains");
        Ok(&self.bytes[start..self.position])
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// A length and so many bytes. Any bytes: what a string must be is its reader's business.
    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// A key or a tensor's name: UTF-8, not empty, at most `limit` bytes.
    pub(super) fn name(&mut self, what: &'static str, limit: u64) -> Result<&'a str, FormatError> {
        let offset = self.position as u64;
        let length = self.u64(what)?;
        if length > limit && length <= self.remaining() {
            return Err(FormatError::NameTooLong { what, offset, length, limit });
        }
        let bytes = self.take(length, what)?;
        if bytes.is_empty() {
            return Err(FormatError::NameEmpty { what, offset });
        }
        std::str::from_utf8(bytes).map_err(|_| FormatError::NameNotUtf8 { what, offset })
    }

    fn past_end(&self, needed_bytes: u64, what: &'static str) -> FormatError {
        let (offset, file_bytes) = (self.position as u64, self.bytes.len() as u64);
        if needed_bytes > file_bytes - offset {
            FormatError::PastEnd { what, offset, needed_bytes, file_bytes }
        } else {
            FormatError::HeaderTooLarge { what, offset, needed_bytes, limit: HEADER_BYTES_MAX }
        }
    }
}
