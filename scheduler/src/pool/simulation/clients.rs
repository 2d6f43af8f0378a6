//! What the clients of a simulated pool do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::watch::Want;
use super::{TIMER_GRAIN, World, behaviour, keep_alive};
use crate::pool::fake::*;
use crate::pool::*;
use crate::testing::Random;

pub(super) async fn client(world: Arc<World>, mut random: Random) {
    for _ in 0..5 + random.below(15) {
        sleep(Duration::from_millis(random.below(60))).await;
        let name = world.names[usize::try_from(random.next() % world.names.len() as u64).unwrap()];
        match random.below(25) {
            0 => {
                let _ = world.pool.unload(name).await;
            }
            1 => {
                let bytes = world.loader.records.lock().unwrap().artifacts[name].bytes;
                world.loader.put(name, bytes, behaviour(&mut random));
            }
            2 => drop(world.lease_and_leave_early(name, &mut random).await),
            3 => world.load(name, &mut random).await,
            4 => world.pin(name, &mut random).await,
            5 | 7 => world.unpin(name).await,
            6 => world.resize(&mut random).await,
            8 => world.fail_in_use(name, &mut random).await,
            _ => world.use_model(name, &mut random).await,
        }
        world.check().await;
    }
}

impl World {
    /// Waits for `asked`, about `name`, which must end by `deadline`.
    async fn wait_for<T>(&self, name: &str, deadline: Instant, asked: impl Future<Output = T>) -> T {
        let _waits = self.waiting.begin(Want::Model(name.to_owned(), Instant::now()));
        let answer = asked.await;
        if Instant::now() > deadline + TIMER_GRAIN {
            self.violation(format!("a request for {name} was answered {:?} late", deadline.elapsed()));
        }
        answer
    }

    async fn lease(&self, name: &str, random: &mut Random) -> Option<Lease<FakeModel>> {
        let options = lease_options(random);
        let result = self.wait_for(name, options.deadline, self.pool.lease(name, options)).await;
        let mut tally = self.tally.lock().unwrap();
        match result {
            Ok(lease) => {
                tally.leases += 1;
                Some(lease)
            }
            Err(_) => {
                tally.refusals += 1;
                None
            }
        }
    }

    async fn lease_and_leave_early(&self, name: &str, random: &mut Random) -> Option<Lease<FakeModel>> {
        let patience = Duration::from_millis(random.below(100));
        timeout(patience, self.lease(name, random)).await.ok().flatten()
    }

    async fn use_model(&self, name: &str, random: &mut Random) {
        let Some(lease) = self.lease(name, random).await else { return };
        let whole_bytes = self.loader.records.lock().unwrap().artifacts[name].bytes;
        self.tally.lock().unwrap().paged += usize::from(lease.weights_bytes() < whole_bytes);
        lease.users.fetch_add(1, Ordering::SeqCst);
        self.watch.begin_use(name);
        self.check().await;
        sleep(Duration::from_millis(random.below(200))).await;
        let room = if random.below(3) == 0 { self.room(name, random).await } else { None };
        sleep(Duration::from_millis(random.below(100))).await;
        if let Some(room) = room {
            *self.kv_bytes.lock().unwrap() -= room.bytes();
            drop(room);
            sleep(Duration::from_millis(random.below(100))).await;
        }
        self.watch.end_use(name);
        lease.users.fetch_sub(1, Ordering::SeqCst);
    }

    /// A model fails in use, and is refused at once; now and then its hold is lost for long.
    async fn fail_in_use(&self, name: &str, random: &mut Random) {
        let Some(lease) = self.lease(name, random).await else { return };
        self.pool.quarantine(&lease, Fault::in_use("it hangs")).await;
        match self.pool.lease(name, within(Duration::from_secs(1))).await {
            Err(LeaseError::Quarantined { .. } | LeaseError::ShuttingDown) => {}
            other => self.violation(format!("{name} failed in use, and then: {other:?}")),
        }
        self.tally.lock().unwrap().failed_in_use += 1;
        if random.below(4) == 0 {
            let lost = Duration::from_millis(random.below(5_000));
            tokio::spawn(async move {
                sleep(lost).await;
                drop(lease);
            });
        }
    }

    async fn room(&self, name: &str, random: &mut Random) -> Option<crate::Reservation> {
        let bytes = 1 + random.below(self.budget.limit_bytes() / 3);
        let deadline = Instant::now() + Duration::from_millis(random.below(500));
        let _waits = self.waiting.begin(Want::Room(bytes));
        let room = self.pool.make_room(name, bytes, deadline).await;
        if Instant::now() > deadline + TIMER_GRAIN {
            self.violation(format!("room for {name} was answered {:?} late", deadline.elapsed()));
        }
        let room = room.ok()?;
        *self.kv_bytes.lock().unwrap() += room.bytes();
        self.tally.lock().unwrap().rooms += 1;
        Some(room)
    }

    async fn load(&self, name: &str, random: &mut Random) {
        let options = lease_options(random);
        let loaded = self.wait_for(name, options.deadline, self.pool.load(name, options)).await;
        self.tally.lock().unwrap().loads += usize::from(loaded.is_ok());
    }

    async fn pin(&self, name: &str, random: &mut Random) {
        let LeaseOptions { deadline, .. } = lease_options(random);
        let pinned = self.wait_for(name, deadline, self.pool.pin(name, deadline)).await;
        self.tally.lock().unwrap().pins += usize::from(pinned.is_ok());
    }

    async fn unpin(&self, name: &str) {
        let unpinned = self.pool.unpin(name).await == Ok(UnpinOutcome::Unpinned);
        self.tally.lock().unwrap().unpins += usize::from(unpinned);
    }

    pub(super) async fn unpin_all(&self) {
        for name in &self.names {
            let _ = self.pool.unpin(name).await;
        }
    }

    async fn resize(&self, random: &mut Random) {
        let limit_bytes = self.limit_bytes / 2 + random.below(self.limit_bytes);
        // One at a time: of two changes at once, nobody could see what was allowed between them.
        let _alone = self.resizing.lock().await;
        *self.resizing_bytes.lock().unwrap() = limit_bytes;
        let resized = self.pool.set_budget(limit_bytes).await.is_ok();
        self.check_bytes();
        *self.resizing_bytes.lock().unwrap() = 0;
        self.check_bytes();
        self.tally.lock().unwrap().resized += usize::from(resized);
    }
}

fn lease_options(random: &mut Random) -> LeaseOptions {
    let keep_alive = (random.below(3) == 0).then(|| keep_alive(random));
    LeaseOptions { keep_alive, deadline: Instant::now() + Duration::from_millis(random.below(1_500)) }
}
