//! Who has signed in, for pages: a browser shows a cookie where other clients show their key.
//!
//! A sign-in has a token that only its browser knows, and stands for the key by what the key is found again by
//! ([`KeyMark`]): a key that is revoked lets nobody in by a sign-in either. It ends when it is ended, after
//! [`SIGN_IN_LASTS`], or with the process.
//!
//! Invariants: tokens are kept as digests alone; there are [`SIGN_INS_MAX`] at most, of which one tenant has
//! [`SIGN_INS_PER_TENANT_MAX`]: its oldest makes way for its next. Deliberately absent: what a sign-in may, which is asked
//! of the key each time, and cookies (`http`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::keyring::KeyMark;
use crate::limits::{SIGN_IN_LASTS, SIGN_INS_MAX, SIGN_INS_PER_TENANT_MAX};

const TOKEN_BYTES: usize = 32;

/// All sign-ins of one server.
#[derive(Default)]
pub(crate) struct SignIns {
    by_digest: Mutex<HashMap<[u8; 32], SignIn>>,
}

/// Why someone is not signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// There are [`SIGN_INS_MAX`].
    #[error("too many are signed in")]
    Full,
    /// The system has no random numbers.
    #[error("no token can be made")]
    Random(#[source] getrandom::Error),
}

struct SignIn {
    mark: KeyMark,
    tenant: Arc<str>,
    begun: Instant,
}

impl SignIns {
    /// Signs `tenant` in by a key that was let in just now; the token is told this once.
    ///
    /// # Errors
    /// [`SignInError`].
    pub(crate) fn begin(&self, tenant: &Arc<str>, mark: KeyMark, now: Instant) -> Result<String, SignInError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(SignInError::Random)?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut open = self.open();
        open.retain(|_, known| !known.is_over(now));
        let own = || open.iter().filter(|(_, known)| known.tenant == *tenant);
        if own().count() >= SIGN_INS_PER_TENANT_MAX {
            let oldest = own().min_by_key(|(_, known)| known.begun).map(|(digest, _)| *digest);
            oldest.map(|digest| open.remove(&digest));
        }
        if open.len() >= SIGN_INS_MAX {
            return Err(SignInError::Full);
        }
        open.insert(digest_of(&token), SignIn { mark, tenant: Arc::clone(tenant), begun: now });
        Ok(token)
    }

    /// The key that `token` stands for.
    pub(crate) fn key_of(&self, token: &str, now: Instant) -> Option<KeyMark> {
        self.open().get(&digest_of(token)).filter(|known| !known.is_over(now)).map(|known| known.mark)
    }

    /// Ends a sign-in, if it is one.
    pub(crate) fn end(&self, token: &str) {
        self.open().remove(&digest_of(token));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], SignIn>> {
        self.by_digest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignIn {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= SIGN_IN_LASTS
    }
}

/// Looked up by this, a token's time tells nothing of it.
fn digest_of(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_by_itself_and_when_it_is_ended() {
        let (sign_ins, now) = (SignIns::default(), Instant::now());
        let token = sign_ins.begin(&"acme".into(), KeyMark::default(), now).unwrap();
        let other = sign_ins.begin(&"acme".into(), KeyMark::default(), now).unwrap();
        assert!(token != other && sign_ins.key_of(&token, now).is_some());
        assert!(sign_ins.key_of("", now).is_none() && sign_ins.key_of(&token[1..], now).is_none());
        sign_ins.end(&other);
        assert!(sign_ins.key_of(&other, now).is_none());
        assert!(sign_ins.key_of(&token, now + SIGN_IN_LASTS).is_none());
    }

    #[test]
    fn a_tenants_oldest_makes_way_and_others_do_not() {
        let (sign_ins, now) = (SignIns::default(), Instant::now());
        let mut tokens = Vec::new();
        for tenant in 0..SIGN_INS_MAX / SIGN_INS_PER_TENANT_MAX {
            let tenant: Arc<str> = tenant.to_string().into();
            for place in 0..SIGN_INS_PER_TENANT_MAX {
                let at = now + std::time::Duration::from_millis(place as u64);
                tokens.push(sign_ins.begin(&tenant, KeyMark::default(), at).unwrap());
            }
        }
        let later = now + std::time::Duration::from_secs(1);
        let refused = sign_ins.begin(&"new".into(), KeyMark::default(), later);
        assert!(matches!(refused, Err(SignInError::Full)));
        let next = sign_ins.begin(&"0".into(), KeyMark::default(), later).unwrap();
        let is_in = |token: &String| sign_ins.key_of(token, later).is_some();
        assert!(is_in(&next) && !is_in(&tokens[0]) && tokens[1..].iter().all(is_in));
        let after = now + SIGN_IN_LASTS;
        assert!(sign_ins.begin(&"new".into(), KeyMark::default(), after).is_ok(), "what is over takes no place");
    }
}
