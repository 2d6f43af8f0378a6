//! Which server a command talks to: the one that was named, the one that runs, or one of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ledger::LedgerError;
use sha2::{Digest as _, Sha256};
use uuid::{NoContext, Timestamp, Uuid};

use super::failure::Failure;
use super::flags::{Context, ServerFlags};
use super::{output, pull};
use crate::app::{self, Server};
use crate::client::Client;
use crate::config::{Config, StaticKey};
use crate::tenancy::{ModelNames, Scopes};

/// Who is charged on a server of a command's own, as on any server without keys.
const TENANT: &str = "anonymous";

/// What a server of another version may not understand, or say otherwise.
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A server to talk to.
pub(super) struct Reached {
    pub(super) client: Client,
    own: Option<Server>,
}

impl Reached {
    /// Ends the server if it is the command's own.
    pub(super) async fn close(self) {
        if let Some(server) = self.own {
            server.stop().await;
        }
    }
}

/// The server that was named, or the one at the configured address.
///
/// # Errors
/// [`Failure::NoServer`] when it does not answer.
pub(super) async fn running(context: &Context, config: &Config) -> Result<Client, Failure> {
    let api_key = context.environment.api_key();
    if let Some(url) = context.server() {
        // Whether it answers is seen when it is asked: it may stand behind a proxy that hides its name.
        return Ok(Client::new(url, api_key)?);
    }
    let client = Client::new(&url_of(config.listen), api_key)?;
    if let Some(version) = client.version().await {
        if version != OWN_VERSION {
            output::note(format_args!("the server at {} is dayfly {version}, this is {OWN_VERSION}", client.url()));
        }
        return Ok(client);
    }
    Err(Failure::NoServer(anyhow::anyhow!("no server runs at {}; start one by `dayfly serve`", client.url())))
}

/// As [`running`], or else a server of the command's own for `model`, on a free loopback port and with a key that only
/// this process knows.
///
/// # Errors
/// What starting a server, or pulling its model, fails with.
pub(super) async fn running_or_own(context: &Context, flags: &ServerFlags, model: &str) -> Result<Reached, Failure> {
    let mut config = context.config(flags.layer())?;
    match running(context, &config).await {
        Ok(client) => {
            if flags.are_given() || !context.global.models_dirs.is_empty() {
                output::note(format_args!("the server at {} answers; flags for a server have no effect", client.url()));
            }
            return Ok(Reached { client, own: None });
        }
        Err(Failure::NoServer(_)) if context.server().is_none() => {}
        Err(failure) => return Err(failure),
    }
    // Also so that a name which does not exist is told before anything is started.
    tokio::task::block_in_place(|| pull::find_or_pull(&config, model))?;
    let (key, key_hash) = fresh_key(TENANT);
    config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    config.keys = vec![key_hash];
    let server = app::start(config).await.map_err(told_of_another)?;
    let client = Client::new(&url_of(server.address()), Some(&key))?;
    Ok(Reached { client, own: Some(server) })
}

/// A ledger has one writer: where that is a server which runs elsewhere, it can be asked.
fn told_of_another(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<LedgerError>() {
        Some(LedgerError::Locked { .. }) => {
            anyhow::anyhow!("{error:#}: a server that listens elsewhere is named by --server, another file by --ledger")
        }
        _ => error,
    }
}

/// The address that leads to a server which listens on `listen`.
pub(super) fn url_of(listen: SocketAddr) -> String {
    let mut reachable = listen;
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => reachable.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => reachable.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{reachable}")
}

/// A key that nobody can guess, and what a configuration says of it.
pub(super) fn fresh_key(tenant: &str) -> (String, StaticKey) {
    // Each has 74 random bits of its own; `now_v7` would count up within a millisecond instead.
    let random = || Uuid::new_v7(Timestamp::now(NoContext)).simple();
    let key = format!("df-{}{}", random(), random());
    let sha256 = Sha256::digest(&key).into();
    (key, StaticKey { id: None, tenant: tenant.into(), sha256, scopes: Scopes::ALL, models: ModelNames::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_for_everybody_is_reached_on_this_machine() {
        assert_eq!(url_of("0.0.0.0:8".parse().unwrap()), "http://127.0.0.1:8");
        assert_eq!(url_of("[::]:8".parse().unwrap()), "http://[::1]:8");
        assert_eq!(url_of("192.0.2.1:8".parse().unwrap()), "http://192.0.2.1:8");
    }

    #[test]
    fn fresh_keys_differ() {
        let (one, hash) = fresh_key("t");
        assert_ne!(one, fresh_key("t").0);
        assert_eq!(hash.sha256, <[u8; 32]>::from(Sha256::digest(&one)));
    }
}
