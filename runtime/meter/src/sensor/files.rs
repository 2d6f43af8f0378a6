//! Small files of the kernel, read with bounds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::SensorError;
use crate::limits::{SENSOR_ENTRIES_MAX, SENSOR_FILE_BYTES_MAX};
use crate::units::Nanojoules;

const ENXIO: i32 = 6;
const ENODEV: i32 = 19;

/// Of a text that is shown in an error.
const SHOWN_CHARS_MAX: usize = 40;

/// The beginning of the file; what is cut there is not read.
pub(super) fn head(path: &Path) -> Result<String, SensorError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SENSOR_FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| failure(path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file's text without blanks at its ends.
pub(super) fn text(path: &Path) -> Result<String, SensorError> {
    Ok(head(path)?.trim().to_owned())
}

/// The file's whole number.
pub(super) fn number(path: &Path) -> Result<u64, SensorError> {
    let text = text(path)?;
    text.parse().map_err(|_| malformed(path, &text, "a whole number"))
}

/// The file's whole number of 10⁻⁶ joules.
pub(super) fn microjoules(path: &Path) -> Result<Nanojoules, SensorError> {
    let text = text(path)?;
    let number: Option<u64> = text.parse().ok();
    let energy = number.and_then(|number| number.checked_mul(1000)).map(Nanojoules::new);
    energy.ok_or_else(|| malformed(path, &text, "a whole number of microjoules, 5 MWh at most"))
}

/// The folder's names in order.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, SensorError> {
    let entries = std::fs::read_dir(folder).map_err(|error| failure(folder, error))?;
    let names = entries.take(SENSOR_ENTRIES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

pub(super) fn absent(path: &Path) -> SensorError {
    SensorError::Absent { place: path.display().to_string() }
}

pub(super) fn malformed(path: &Path, text: &str, expected: &'static str) -> SensorError {
    SensorError::Malformed {
        place: path.display().to_string(),
        text: text.chars().take(SHOWN_CHARS_MAX).collect(),
        expected,
    }
}

/// The kernel's refusal, told apart.
pub(super) fn failure(path: &Path, source: io::Error) -> SensorError {
    let place = path.display().to_string();
    match (source.kind(), source.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => SensorError::Absent { place },
        (io::ErrorKind::PermissionDenied, _) => {
            SensorError::Denied { place, remedy: "its owner and mode say who may", source }
        }
        (_, Some(ENODEV | ENXIO)) => SensorError::Vanished { place, source },
        _ => SensorError::Unreadable { place, source },
    }
}
