//! What of all that is wrong, or not as it could be.

use kernels::Isa;
use loader::Lock;
use models::candle::DeviceKind;
use serde::Serialize;

use super::facts::Facts;
use super::places::{FolderState, LedgerFile, LedgerState, Place};
use crate::config::{Config, DeviceWay, bytes_text};
use crate::limits::CONNECTIONS_MAX;

/// Descriptors that a server has beside those of connections, roughly: files, the ledger, sensors.
const DESCRIPTORS_BESIDE: u64 = 256;
/// Free bytes below which a folder is said to be nearly full.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Beginnings of the names of file systems whose files others can cut while they are mapped.
const OF_NETWORKS: [&str; 8] = ["nfs", "cifs", "smb", "9p", "ceph", "fuse.sshfs", "glusterfs", "afs"];

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) text: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Something will not work.
    Problem,
    /// It works, and could be better.
    Hint,
}

/// What there is to say, problems first.
pub(super) fn findings(config: &Config, facts: &Facts, models_dirs: &[Place], ledger: &LedgerFile) -> Vec<Finding> {
    let mut found = Vec::new();
    of_folders(models_dirs, &mut found);
    of_ledger(ledger, &mut found);
    of_limits(config, facts, &mut found);
    of_devices(config, &mut found);
    found.sort_by_key(|finding: &Finding| finding.severity);
    found
}

fn problem(text: String) -> Finding {
    Finding { severity: Severity::Problem, text }
}

fn hint(text: String) -> Finding {
    Finding { severity: Severity::Hint, text }
}

fn of_folders(models_dirs: &[Place], found: &mut Vec<Finding>) {
    for (index, place) in models_dirs.iter().enumerate() {
        let path = place.path.display();
        match place.state {
            FolderState::NotAFolder => found.push(problem(format!("{path} is no folder of models"))),
            FolderState::Unreadable => found.push(problem(format!("{path} cannot be read by this user"))),
            FolderState::CannotBeMade => {
                found.push(problem(format!("{path} is not there, and this user cannot make it")))
            }
            FolderState::ReadOnly if index == 0 => {
                found.push(hint(format!("{path} cannot be written: nothing is pulled into it")));
            }
            FolderState::ReadOnly | FolderState::Writable | FolderState::ToBeMade => {}
        }
        if let Some(kind) = place.file_system.as_deref().filter(|kind| is_of_network(kind)) {
            found.push(hint(format!(
                "{path} is on {kind}: whoever else can write there can break what is mapped from it"
            )));
        }
        if let Some(free) = place.free_bytes.filter(|free| index == 0 && *free < FREE_BYTES_MIN) {
            found.push(hint(format!("there are {} left for models in {path}", bytes_text(free))));
        }
    }
}

fn of_ledger(ledger: &LedgerFile, found: &mut Vec<Finding>) {
    let path = ledger.path.display();
    match (&ledger.state, ledger.folder.state) {
        (LedgerState::Unreadable(why), _) => found.push(problem(format!("the ledger {path} cannot be read: {why}"))),
        (_, FolderState::Writable | FolderState::ToBeMade) => {}
        _ => found.push(problem(format!("the ledger {path} cannot be written: a server answers nothing without it"))),
    }
    if let Some(kind) = ledger.folder.file_system.as_deref().filter(|kind| is_of_network(kind)) {
        found.push(problem(format!("the ledger {path} is on {kind}, where SQLite's locks cannot be relied on")));
    }
    if let Some(free) = ledger.folder.free_bytes.filter(|free| *free < FREE_BYTES_MIN) {
        found.push(hint(format!("there are {} left for the ledger {path}", bytes_text(free))));
    }
}

fn of_limits(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let wanted = CONNECTIONS_MAX as u64 + DESCRIPTORS_BESIDE;
    if let Some(limit) = facts.descriptors_max.filter(|limit| *limit < wanted) {
        found.push(hint(format!(
            "{limit} descriptors may be open (ulimit -n): {wanted} are enough for {CONNECTIONS_MAX} connections"
        )));
    }
    let budget_bytes = config.devices[0].memory_bytes;
    if let Some(limit) = facts.memlock_bytes.filter(|limit| config.pages.lock == Lock::Locked && *limit < budget_bytes)
    {
        let (limit, budget) = (bytes_text(limit), bytes_text(budget_bytes));
        found.push(problem(format!("lock = true, and {limit} may be locked (ulimit -l) of a budget of {budget}")));
    }
    if let Some(available) = facts.memory_available_bytes.filter(|available| *available < budget_bytes) {
        let (available, budget) = (bytes_text(available), bytes_text(budget_bytes));
        found.push(hint(format!("models may take {budget}, and the system has {available} to give now")));
    }
    if let Some(best) = Isa::ALL.into_iter().rfind(|isa| isa.is_available()).filter(|best| *best != config.isa) {
        found.push(hint(format!("{} is configured, and this processor has {best}", config.isa)));
    }
}

/// What is configured and was not built in.
fn of_devices(config: &Config, found: &mut Vec<Finding>) {
    for device in &config.devices {
        let feature = match device.way {
            DeviceWay::Candle(DeviceKind::Cuda(_)) if !cfg!(feature = "cuda") => "cuda",
            DeviceWay::Candle(DeviceKind::Metal(_)) if !cfg!(feature = "metal") => "metal",
            DeviceWay::Kernels | DeviceWay::Candle(_) => continue,
        };
        found.push(problem(format!("[devices.{}]: this build was made without `--features {feature}`", device.name)));
    }
}

fn is_of_network(kind: &str) -> bool {
    OF_NETWORKS.iter().any(|name| kind.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, state: FolderState, file_system: &str) -> Place {
        Place { path: path.into(), state, file_system: Some(file_system.into()), free_bytes: Some(1 << 40) }
    }

    fn told(found: &[Finding]) -> Vec<(Severity, &str)> {
        found.iter().map(|finding| (finding.severity, finding.text.as_str())).collect()
    }

    #[test]
    fn folders_that_cannot_be_used_are_problems_and_others_are_not() {
        let mut found = Vec::new();
        of_folders(
            &[place("/a", FolderState::Writable, "ext4"), place("/b", FolderState::ReadOnly, "squashfs")],
            &mut found,
        );
        assert_eq!(told(&found), []);
        let full = Place { free_bytes: Some(5), ..place("/a", FolderState::ReadOnly, "nfs4") };
        of_folders(&[full, place("/b", FolderState::NotAFolder, "xfs")], &mut found);
        let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Hint, Severity::Hint, Severity::Hint, Severity::Problem], "{found:?}");
        assert!(found[1].text.contains("nfs4") && found[2].text.contains("5 B"), "{found:?}");
    }

    #[test]
    fn a_ledger_that_cannot_be_kept_is_a_problem() {
        let ledger = |state, folder| LedgerFile { path: "l".into(), state, size_bytes: 0, folder };
        let mut found = Vec::new();
        of_ledger(&ledger(LedgerState::ToBeMade, place("/s", FolderState::ToBeMade, "ext4")), &mut found);
        of_ledger(&ledger(LedgerState::Readable, place("/s", FolderState::Writable, "ext4")), &mut found);
        assert_eq!(told(&found), []);
        of_ledger(
            &ledger(LedgerState::Unreadable("broken".into()), place("/s", FolderState::Writable, "ext4")),
            &mut found,
        );
        of_ledger(&ledger(LedgerState::Readable, place("/s", FolderState::ReadOnly, "ext4")), &mut found);
        of_ledger(&ledger(LedgerState::ToBeMade, place("/s", FolderState::Writable, "nfs")), &mut found);
        assert_eq!(found.iter().filter(|finding| finding.severity == Severity::Problem).count(), 3, "{found:?}");
    }
}
