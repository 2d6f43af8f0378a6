//! Claim 2: what a copy in a process of its own holds, and what one server with five models holds for a hundred tenants.
//!
//! Invariants: every process maps a file that nobody else maps, and has answered once before it is looked at. The hundred
//! are a few, scaled by what one of them holds on average: said so. Deliberately absent: a hundred processes.

use std::sync::Arc;

use anyhow::Context as _;
use meter::energy::Quality;
use serde_json::json;
use tokio::task::JoinSet;

use super::bed::{Bed, Manner, Running, float};
use super::judged::{Found, Verdict, less, percent};
use super::slips::Efficiency;
use crate::cli::bench::pools::copies::{Source, check_room};
use crate::cli::bench::pools::drive::answer;
use crate::cli::failure::Failure;
use crate::cli::output::figure;
use crate::cli::reach;
use crate::client::Client;

const USERS: u64 = 100;
const MODELS: usize = 5;
/// Requests at once.
const AT_ONCE: usize = 8;
/// Tokens of each.
const TOKENS: (u32, u32) = (8, 2);
/// GB of a model in the claim's own arithmetic.
const LARGE_GB: f64 = 4.0;
const CLAIMED: f64 = 0.95;
const KIB: f64 = 1024.0;

/// What processes hold.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    /// Of each process with a copy of its own, in KiB.
    dedicated_kib: Vec<u64>,
    /// Of one server with all models.
    shared_kib: u64,
    file_bytes: u64,
}

impl Copies {
    /// Starts them and looks.
    ///
    /// # Errors
    /// When there is no room, the model is in several files, or a server does not do what it should.
    pub(super) async fn hold(bed: &Bed) -> Result<Self, Failure> {
        let processes: usize = bed.size.pick(10, 4);
        let folder = bed.path("copies");
        let mut sources = Vec::new();
        for number in 1..=processes.max(MODELS) {
            let renamed = bed.source.renamed(&format!("copy-{number}"));
            sources.push(renamed.context("copies can be made of a model in one file alone")?);
        }
        std::fs::create_dir_all(&folder).context("no folder can be made for copies")?;
        check_room(&folder, sources.iter().map(|source| source.size_bytes).sum())?;
        for source in &sources {
            source.copy_into(&folder).await?;
        }
        let dedicated_kib = dedicated(bed, &sources[..processes]).await?;
        let shared_kib = shared(bed, &sources[..MODELS]).await?;
        Ok(Self { dedicated_kib, shared_kib, file_bytes: bed.source.size_bytes })
    }

    /// Of one of them on average, in bytes.
    fn each_bytes(&self) -> f64 {
        float(self.dedicated_kib.iter().sum()) * KIB / float(self.dedicated_kib.len().max(1) as u64)
    }

    /// What the hundred would hold, and what one server does.
    pub(super) fn efficiency(&self) -> Efficiency {
        let dedicated_gb = self.each_bytes() * float(USERS) / 1e9;
        Efficiency { dedicated_gb, shared_gb: float(self.shared_kib) * KIB / 1e9 }
    }
}

/// A process for each file, all at the same time.
async fn dedicated(bed: &Bed, sources: &[Source]) -> Result<Vec<u64>, Failure> {
    let mut servers: Vec<Running> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let names = [source.name.as_str()];
        let manner = Manner { pinned: &names, ..Manner::staying("-1") };
        let server = bed.start_over(&bed.path("copies"), &format!("dedicated-{index}"), manner).await?;
        let mut body = bed.body(index, TOKENS);
        body["model"] = json!(source.name);
        server.ask(&body).await?;
        servers.push(server);
    }
    let mut held = Vec::new();
    for server in &mut servers {
        held.push(server.look()?.pss_kib);
    }
    for server in servers {
        server.stop().await?;
    }
    Ok(held)
}

/// One server for all, after each of a hundred tenants has asked.
async fn shared(bed: &Bed, sources: &[Source]) -> Result<u64, Failure> {
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let tenants: Vec<_> = (1..=USERS).map(|number| reach::fresh_key(&format!("tenant-{number}"))).collect();
    let hashes: Vec<_> = tenants.iter().map(|(_, hash)| hash.clone()).collect();
    let manner = Manner { pinned: &names, tenants: &hashes, ..Manner::staying("-1") };
    let server = bed.start_over(&bed.path("copies"), "shared", manner).await?;
    let url = Arc::new(server.client.url());
    let mut asked = JoinSet::new();
    for (index, (key, _)) in tenants.into_iter().enumerate() {
        let mut body = bed.body(index, TOKENS);
        body["model"] = json!(names[index % names.len()]);
        let url = Arc::clone(&url);
        asked.spawn(async move { answer(&Client::new(&url, Some(&key))?, &body).await });
        if asked.len() >= AT_ONCE {
            next(&mut asked).await?;
        }
    }
    while !asked.is_empty() {
        next(&mut asked).await?;
    }
    let held = server.settled_kib().await?;
    server.stop().await?;
    Ok(held)
}

async fn next<T: 'static>(asked: &mut JoinSet<Result<T, crate::client::ClientError>>) -> Result<(), Failure> {
    if let Some(answered) = asked.join_next().await {
        answered.context("a request was given up")??;
    }
    Ok(())
}

/// Claim 2.
pub(super) fn judged(copies: &Copies) -> Found {
    let Efficiency { dedicated_gb, shared_gb } = copies.efficiency();
    let measured = less(shared_gb, dedicated_gb);
    let models = float(MODELS as u64);
    let large = less(models * LARGE_GB, float(USERS) * LARGE_GB);
    let beside_mb = (copies.each_bytes() - float(copies.file_bytes)) / 1e6;
    let shared_beside_mb = shared_gb * 1e3 - models * float(copies.file_bytes) / 1e6;
    Found {
        measured: format!("{} less ({} GB against {} GB)", percent(measured), figure(shared_gb), figure(dedicated_gb)),
        quality: Quality::Measured,
        verdict: Verdict::of_share(measured, CLAIMED),
        why: format!(
            "by weights alone it is 1 - {MODELS}/{USERS} = {}, also for models of {LARGE_GB} GB ({} GB against {} GB, \
             arithmetic). Beside its {:.0} MB of weights a process of its own holds {} MB, a hundred times; the shared one \
             holds {} MB beside five files, once. The hundred are {} processes that were run, scaled by their mean of {} MB.",
            percent(large),
            models * LARGE_GB,
            float(USERS) * LARGE_GB,
            float(copies.file_bytes) / 1e6,
            figure(beside_mb),
            figure(shared_beside_mb),
            copies.dedicated_kib.len(),
            figure(copies.each_bytes() / 1e6),
        ),
        inputs: json!({
            "file_bytes": copies.file_bytes,
            "dedicated_pss_kib": copies.dedicated_kib,
            "shared_pss_kib": copies.shared_kib,
            "users": USERS,
            "models": MODELS,
            "dedicated_gb_scaled": dedicated_gb,
            "shared_gb": shared_gb,
            "large_model_gb": LARGE_GB,
            "large_share": large,
        }),
        how: format!(
            "proportional set size from outside: {} processes with a file each, and one with {MODELS} files after a request of \
             each of {USERS} tenants; {USERS} processes by linear scaling",
            copies.dedicated_kib.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_are_scaled_from_a_few() {
        let copies = Copies { dedicated_kib: vec![100, 300], shared_kib: 1000, file_bytes: 1024 };
        let Efficiency { dedicated_gb, shared_gb } = copies.efficiency();
        assert!((dedicated_gb - 200.0 * 1024.0 * 100.0 / 1e9).abs() < 1e-12);
        assert!((dedicated_gb / shared_gb - 20.0).abs() < 1e-9);
        let found = judged(&copies);
        assert_eq!(found.verdict, Verdict::Holds, "{}", found.why);
        let worse = judged(&Copies { shared_kib: 15_000, ..copies });
        assert_eq!(worse.verdict, Verdict::DoesNotHold, "{}", worse.measured);
    }
}
