//! Ids and pieces against llama.cpp's and the `tokenizers` package's, and what must hold for any text and any file.

mod exact;
mod properties;
mod strings;
mod tables;
