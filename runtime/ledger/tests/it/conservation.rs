//! What is stored adds up to what was resident.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger::{Ledger, LedgerOptions, Reservation, SavingsQuery, Settlement, wait};
use meter::residency::{ArtifactId, Load, Request};
use meter::{
    CpuDescription, EnergyModel, KibMillis, KvIntegral, Moment, Nanojoules, Outcome, PicoUnits, Quality, RateCard,
    Receipt, Residency,
};

use crate::support::{measured, receipt};

const MODELS: [&str; 3] = ["small", "medium", "large"];
const TENANTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A day in the life: cold loads with waiters, several tenants at once, cancellations, evictions, idle hours.
struct Life {
    ledger: Ledger,
    residency: Residency,
    state: u64,
    now: u64,
    next: u64,
    active: BTreeMap<String, (&'static str, &'static str, KvIntegral)>,
    loaded: BTreeMap<&'static str, u64>,
    receipts: Vec<Receipt>,
}

impl Life {
    fn new(seed: u64) -> Self {
        Self {
            ledger: Ledger::in_memory(LedgerOptions::default()).unwrap(),
            residency: Residency::new(Duration::from_millis(300)),
            state: seed,
            now: 0,
            next: 0,
            active: BTreeMap::new(),
            loaded: BTreeMap::new(),
            receipts: Vec::new(),
        }
    }

    /// From 0 to `limit` − 1, by the SplitMix64 generator.
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn pick<const N: usize>(&mut self, names: [&'static str; N]) -> &'static str {
        names[usize::try_from(self.below(N as u64)).unwrap()]
    }

    fn at(&self) -> Moment {
        Moment::new(self.now)
    }

    fn step(&mut self) {
        self.now += self.below(120);
        match self.below(10) {
            0..=2 => self.arrive(),
            3..=7 => self.finish(),
            8 => self.evict(),
            _ => self.store_intervals(),
        }
    }

    fn arrive(&mut self) {
        let (model, tenant) = (self.pick(MODELS), self.pick(TENANTS));
        let id = format!("r{}", self.next);
        self.next += 1;
        let reservation = Reservation {
            id: id.clone(),
            tenant: tenant.into(),
            model: model.into(),
            at: self.at(),
            idempotency_key: None,
            key_id: None,
        };
        wait(|done| self.ledger.reserve(reservation, done)).unwrap();
        let request = Request { id: &id, tenant };
        if !self.loaded.contains_key(model) {
            let wall = self.below(80);
            self.now += wall;
            let bytes = self.below(1 << 28);
            let load = Load {
                artifact: ArtifactId::default(),
                bytes,
                bytes_before: bytes / 2,
                quality: Quality::Derived,
                wall: Duration::from_millis(wall),
                waiters: &[request],
                asked_by: None,
            };
            self.residency.model_loaded(model, self.at(), load);
            self.loaded.insert(model, bytes);
        }
        self.residency.request_begins(model, request, self.at());
        let mut kv = KvIntegral::new(self.at());
        kv.grow(1 << 20, self.at());
        self.active.insert(id, (model, tenant, kv));
    }

    fn finish(&mut self) {
        let Some((id, (model, tenant, kv))) = self.active.pop_first() else { return };
        let mut measured = measured(&id, tenant);
        measured.model = model.into();
        measured.memory.weights = self.residency.request_ends(&id, self.at());
        measured.memory.kv = kv.finish(self.at());
        measured.memory.weights_bytes = self.loaded.get(model).copied().unwrap_or(0);
        if self.below(4) == 0 {
            measured.outcome = Outcome::Cancelled;
        }
        let receipt = receipt(measured);
        self.receipts.push(receipt.clone());
        let settlement = Settlement { at: self.at(), receipt: Box::new(receipt) };
        wait(|done| self.ledger.settle(settlement, done)).unwrap();
    }

    fn evict(&mut self) {
        let model = self.pick(MODELS);
        self.residency.copy_freed(model, ArtifactId::default(), self.at());
        self.loaded.remove(model);
    }

    fn store_intervals(&mut self) {
        for interval in self.residency.take_intervals(self.at()) {
            wait(|done| self.ledger.interval(interval, done)).unwrap();
        }
    }
}

#[test]
fn receipts_and_accounts_sum_to_what_was_resident() {
    for seed in 0..8 {
        let mut life = Life::new(seed);
        (0..300).for_each(|_| life.step());
        while !life.active.is_empty() {
            life.finish();
        }
        life.store_intervals();
        assert_eq!(life.residency.imbalance(), 0, "seed {seed}");

        let reader = life.ledger.reader();
        let totals = reader.tenant_totals().unwrap();
        let of_requests: u64 = totals.iter().map(|one| one.weights_kib_ms.get() + one.load_kib_ms.get()).sum();
        let of_accounts: u64 = reader.account_totals().unwrap().iter().map(|one| one.kib_ms.get()).sum();
        assert!(of_requests > 0 && of_accounts > 0, "seed {seed} tests nothing");
        assert_eq!(u128::from(of_requests + of_accounts), life.residency.measured(), "seed {seed}");

        // The sums of the columns are the sums of the receipts.
        let receipts = &life.receipts;
        assert_eq!(totals.iter().map(|one| one.requests).sum::<u64>(), receipts.len() as u64);
        let energy: Nanojoules = receipts.iter().map(|one| one.energy.total_nj).sum();
        assert_eq!(totals.iter().map(|one| one.energy_nj).sum::<Nanojoules>(), energy);
        let cost: PicoUnits = receipts.iter().filter_map(|one| one.cost.pico_units).sum();
        assert_eq!(totals.iter().map(|one| one.pico_units).sum::<PicoUnits>(), cost);
        let kv: KibMillis = receipts.iter().map(|one| one.memory.kv_kib_ms).sum();
        assert_eq!(totals.iter().map(|one| one.kv_kib_ms).sum::<KibMillis>(), kv);

        // And the savings report charges all of it, keep-alive and idle included, against us.
        let inputs = reader.savings_inputs(SavingsQuery::default()).unwrap();
        let energy = EnergyModel::new(&CpuDescription::default(), 2, 8 << 30);
        let report = meter::savings::report(&inputs, &energy, &RateCard::default());
        assert_eq!(u128::from(report.total.ephemeral.kib_ms.get()), life.residency.measured(), "seed {seed}");
    }
}
