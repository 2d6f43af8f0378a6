//! What threads share of a budget: two numbers under one lock, so that a grant and a change of the limit have an order,
//! and a bell that is rung after bytes came back.
//!
//! With an atomic for each number, a grant could be checked against a limit that was lowered before it was counted. Lock
//! and bell stand behind a seam, so that a test can try every order of the threads.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// A limit, what is taken of it, and who is told when something comes back.
pub(super) struct Account<L = Mutex<Balance>, B = watch::Sender<()>> {
    balance: L,
    bell: B,
}

/// Both numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) limit_bytes: u64,
    pub(super) used_bytes: u64,
}

/// Exclusive access to a balance.
pub(super) trait Lock {
    fn with<R>(&self, change: impl FnOnce(&mut Balance) -> R) -> R;
}

impl Lock for Mutex<Balance> {
    fn with<R>(&self, change: impl FnOnce(&mut Balance) -> R) -> R {
        // No change below leaves the numbers half done, even if it panics.
        change(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes whoever waits for bytes; one who begins to wait after it was rung, and looked before, is woken too.
pub(super) trait Bell {
    fn ring(&self);
}

impl Bell for watch::Sender<()> {
    fn ring(&self) {
        self.send_replace(());
    }
}

impl<L: Lock, B: Bell> Account<L, B> {
    pub(super) fn new(balance: L, bell: B) -> Self {
        Self { balance, bell }
    }

    pub(super) fn bell(&self) -> &B {
        &self.bell
    }

    pub(super) fn balance(&self) -> Balance {
        self.balance.with(|balance| *balance)
    }

    /// Takes `bytes` if they fit; whether they did.
    pub(super) fn try_take(&self, bytes: u64) -> bool {
        self.balance.with(|balance| {
            let sum = balance.used_bytes.checked_add(bytes).filter(|&sum| sum <= balance.limit_bytes);
            if let Some(sum) = sum {
                balance.used_bytes = sum;
            }
            sum.is_some()
        })
    }

    /// Gives back `bytes` that were taken, then rings: whoever hears it finds them.
    pub(super) fn give_back(&self, bytes: u64) {
        self.balance.with(|balance| balance.used_bytes -= bytes);
        self.bell.ring();
    }

    pub(super) fn set_limit(&self, limit_bytes: u64) {
        self.balance.with(|balance| balance.limit_bytes = limit_bytes);
    }
}

/// Every order of the threads that the C11 memory model allows, by loom.
#[cfg(test)]
mod tests {
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    type Model = Account<Mutex<Balance>, Rings>;

    impl Lock for Mutex<Balance> {
        fn with<R>(&self, change: impl FnOnce(&mut Balance) -> R) -> R {
            change(&mut self.lock().unwrap())
        }
    }

    /// As tokio's watch channel: a version, and those who wait for another than they saw.
    struct Rings {
        rung: Mutex<u64>,
        woken: Condvar,
    }

    impl Bell for Rings {
        fn ring(&self) {
            *self.rung.lock().unwrap() += 1;
            self.woken.notify_all();
        }
    }

    impl Rings {
        /// Waits until it was rung since `seen`, and remembers that.
        fn changed(&self, seen: &mut u64) {
            let mut rung = self.rung.lock().unwrap();
            while *rung == *seen {
                rung = self.woken.wait(rung).unwrap();
            }
            *seen = *rung;
        }
    }

    fn account(limit_bytes: u64) -> Arc<Model> {
        let rings = Rings { rung: Mutex::new(0), woken: Condvar::new() };
        Arc::new(Account::new(Mutex::new(Balance { limit_bytes, used_bytes: 0 }), rings))
    }

    #[test]
    fn no_order_of_threads_grants_more_than_the_limit_or_loses_bytes() {
        loom::model(|| {
            let account = account(3);
            let threads = [2, 2].map(|bytes| {
                let account = Arc::clone(&account);
                thread::spawn(move || {
                    if account.try_take(bytes) {
                        let Balance { limit_bytes, used_bytes } = account.balance();
                        assert!(used_bytes <= limit_bytes);
                        account.give_back(bytes);
                    }
                })
            });
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(account.balance().used_bytes, 0);
        });
    }

    #[test]
    fn once_the_limit_was_lowered_nothing_is_granted_beyond_it() {
        loom::model(|| {
            let account = account(4);
            let taker = {
                let account = Arc::clone(&account);
                thread::spawn(move || account.try_take(1) && account.try_take(2))
            };
            account.set_limit(1);
            let then = account.balance().used_bytes;
            let took_both = taker.join().unwrap();
            let now = account.balance().used_bytes;
            assert!(now <= then.max(1), "{then} were taken when the limit was lowered to 1, {now} are later");
            assert_eq!(took_both, now == 3);
        });
    }

    #[test]
    fn whoever_waits_for_bytes_wakes_in_every_order() {
        loom::model(|| {
            let account = account(2);
            assert!(account.try_take(2));
            let holder = {
                let account = Arc::clone(&account);
                thread::spawn(move || {
                    account.give_back(1);
                    account.give_back(1);
                })
            };
            // As the pool does: look, then wait for what changed since it began to listen. A lost wake-up never ends.
            let mut seen = 0;
            while !account.try_take(2) {
                account.bell().changed(&mut seen);
            }
            holder.join().unwrap();
        });
    }
}
