//! The configuration file while the server runs: read again at SIGHUP, and when it has changed.
//!
//! What may change (`config/changes.rs` lists it) is taken on, the rest is named in the log and waits for the next start;
//! flags and variables win over the file as they did. A file that is not valid changes nothing and is told of once. The
//! file is looked at every [`CONFIG_LOOKED_AT_EVERY`] by its path, so that one that was put in its place is seen too; it is
//! read when two looks in a row find the same, so that one that is being written is left alone.
//!
//! Invariants: all that may fail is done before anything changes; requests that were let in go on with what they began
//! with. Deliberately absent: what was reckoned at the start and is kept on purpose, because others are measured against it:
//! the prices of `keep_alive = "auto"` and of `routing = "cost"`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use toml::Table;

use super::App;
use crate::config::{Change, Config, Effect, Source, changes, with_live};
use crate::limits::CONFIG_LOOKED_AT_EVERY;
use crate::logging::Log;
use crate::metering::Prices;
use crate::service::Notifier;
use crate::tenancy::Reconfigured;

/// What a reading of the file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReloadOutcome {
    /// What may change of it was taken on.
    Applied,
    /// Nothing that may change has.
    Unchanged,
    /// It cannot be used, and what was before goes on.
    Invalid,
}

impl ReloadOutcome {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Invalid];

    /// Its word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Invalid => "invalid",
        }
    }
}

/// Reads the file again.
pub(crate) struct Reload {
    source: Source,
    /// What counts of it.
    applied: Table,
    watch: Watch,
    log: Log,
}

/// A new configuration, ready to be taken on.
struct Prepared {
    changes: Vec<Change>,
    applied: Table,
    config: Config,
    keyring: Reconfigured,
    prices: Prices,
}

impl Reload {
    /// For a server that begins with what `source` says now; and that. Blocks on the file system.
    ///
    /// # Errors
    /// When there is no usable configuration.
    pub(crate) fn begin(source: Source, log: Log) -> Result<(Self, Config), crate::config::ConfigError> {
        // Before it is read: a change in between is seen afterwards.
        let watch = Watch { read: Stamp::of(source.file()), seen: None };
        let applied = source.read()?.unwrap_or_default();
        let config = source.config(&applied)?;
        log.choose(config.log.as_ref());
        Ok((Self { source, applied, watch, log }, config))
    }

    /// Follows the file for as long as the server runs, and tells the service manager of what `hangup` asked to read.
    pub(crate) async fn follow(mut self, app: Arc<App>, notifier: &Notifier, mut hangup: Signal) {
        let mut looks = tokio::time::interval(CONFIG_LOOKED_AT_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                asked = hangup.recv() => {
                    if asked.is_none() {
                        return std::future::pending().await;
                    }
                    notifier.reloading();
                    let stamp = stamp_of(self.source.file()).await;
                    self.watch = Watch { read: stamp, seen: None };
                    let outcome = self.again(&app).await;
                    notifier.ready(&format!("the configuration was read again: {}", outcome.name()));
                }
                _ = looks.tick() => {
                    let stamp = stamp_of(self.source.file()).await;
                    if self.watch.has_changed(stamp) {
                        self.again(&app).await;
                    }
                }
            }
        }
    }

    /// Reads the file again.
    async fn again(&mut self, app: &Arc<App>) -> ReloadOutcome {
        let (source, before, running) = (self.source.clone(), self.applied.clone(), Arc::clone(app));
        let prepared = tokio::task::spawn_blocking(move || prepare(&source, &before, &running)).await;
        let outcome = match prepared.unwrap_or_else(|died| Err(anyhow::Error::new(died))) {
            Ok(prepared) => self.take_on(app, prepared),
            Err(error) => {
                let file = self.source.file().display();
                tracing::error!(%file, "the configuration was not changed, because its file cannot be used: {error:#}");
                ReloadOutcome::Invalid
            }
        };
        app.metering.metrics().reloaded(outcome);
        outcome
    }

    fn take_on(&mut self, app: &App, prepared: Prepared) -> ReloadOutcome {
        let Prepared { changes, applied, config, keyring, prices } = prepared;
        for change in &changes {
            match change.effect {
                Effect::Live => tracing::info!("configuration: {change}"),
                Effect::Restart => {
                    tracing::warn!(key = change.key, "configuration: this counts from the next start on")
                }
            }
        }
        self.applied = applied;
        if changes.iter().all(|change| change.effect == Effect::Restart) {
            return ReloadOutcome::Unchanged;
        }
        self.log.choose(config.log.as_ref());
        app.models.keep_as(&config);
        app.metering.reprice(prices);
        app.keyring.adopt(keyring);
        *app.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        ReloadOutcome::Applied
    }
}

/// What the file says now, and what of it is to count where `before` did. Changes nothing.
fn prepare(source: &Source, before: &Table, app: &App) -> anyhow::Result<Prepared> {
    let file = match source.read()? {
        Some(file) => file,
        None if before.is_empty() => Table::new(),
        // It may have had the keys, and without them whoever comes is let in.
        None => {
            anyhow::bail!("it is gone; what it said goes on until another is put in its place, or until the next start")
        }
    };
    // All of it, so that nobody finds out at the next start.
    source.config(&file)?;
    let applied = with_live(before, &file);
    let mut config =
        source.config(&applied).context("it is valid, and counts as a whole from the next start on alone")?;
    // Where it really listens: a socket may have been passed.
    config.listen = app.config().listen;
    config.check_strangers(app.keyring.stored_keys())?;
    let keyring = app.keyring.reconfigured(&config).context("the keys cannot be read")?;
    let host = crate::host::host(Path::new("/"), config.design_power);
    let prices = Prices { devices: crate::devices::prices(&config, &host), carbon: config.carbon.clone() };
    Ok(Prepared { changes: changes(before, &file), applied, config, keyring, prices })
}

/// What a file is known again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is no file. Blocks on the file system.
    fn of(file: &Path) -> Option<Self> {
        std::fs::metadata(file).ok().map(|metadata| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

async fn stamp_of(file: &Path) -> Option<Stamp> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || Stamp::of(&file)).await.unwrap_or_default()
}

/// Sees changes of a file that have come to rest.
struct Watch {
    /// The one that was read.
    read: Option<Stamp>,
    /// Another one, at the last look.
    seen: Option<Stamp>,
}

impl Watch {
    /// Whether there is a file that was not read, for the second look in a row. One that is gone is waited for: editors put
    /// another in its place.
    fn has_changed(&mut self, now: Option<Stamp>) -> bool {
        let Some(now) = now.filter(|&now| self.read != Some(now)) else {
            self.seen = None;
            return false;
        };
        if self.seen.replace(now) != Some(now) {
            return false;
        }
        *self = Self { read: Some(now), seen: None };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_it_has_come_to_rest() {
        let stamp = |bytes| Some(Stamp { device: 1, inode: 1, bytes, changed: (0, 0) });
        let mut watch = Watch { read: stamp(1), seen: None };
        let looks = [
            (stamp(1), false),
            // Written bit by bit.
            (stamp(2), false),
            (stamp(3), false),
            (stamp(3), true),
            (stamp(3), false),
            // Renamed away, and another put in its place.
            (None, false),
            (stamp(4), false),
            (None, false),
            (stamp(4), false),
            (stamp(4), true),
            // There and back again.
            (stamp(5), false),
            (stamp(4), false),
            (stamp(5), false),
        ];
        for (number, (now, expected)) in looks.into_iter().enumerate() {
            assert_eq!(watch.has_changed(now), expected, "look {number}");
        }
    }
}
