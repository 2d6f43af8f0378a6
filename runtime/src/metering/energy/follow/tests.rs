//! Fault 45, from the kernel's files to the ledger: a counter that is missing, stuck, wrapping or not to be read leaves a
//! labelled model or nothing, with its reason, and never a negative figure.

use std::fs;

use ledger::EnergyTotal;
use meter::energy::{EnergySource as _, EnergyUse};
use meter::ladder::RungState;
use tempfile::TempDir;

use super::*;
use crate::metering::tests::metering;

const RANGE_UJ: u64 = 262_143_328_850;

/// A folder that stands for `/`.
pub(in crate::metering) struct Machine(TempDir);

impl Machine {
    pub(in crate::metering) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(in crate::metering) fn root(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, path: &str, text: &str) -> &Self {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
        self
    }

    /// Its processors' counter stands at that many microjoules, if it has one.
    pub(in crate::metering) fn counts_when(&self, has_counter: bool, microjoules: u64) -> &Self {
        if has_counter {
            let zone = "sys/class/powercap/intel-rapl:0";
            self.put(&format!("{zone}/name"), "package-0");
            self.put(&format!("{zone}/max_energy_range_uj"), &RANGE_UJ.to_string());
            self.put(&format!("{zone}/energy_uj"), &(microjoules % RANGE_UJ).to_string());
        }
        self
    }

    /// Its processors have worked for that long.
    pub(in crate::metering) fn worked(&self, span: Duration) -> &Self {
        self.put("proc/stat", &format!("cpu  {} 0 0 0 0 0 0 0 0 0", span.as_millis() / 10))
    }
}

/// A server on that machine.
struct Served {
    metering: Arc<Metering>,
    host: Followed,
}

impl Served {
    fn on(machine: &Machine) -> Self {
        let host = Host { cores: 2, memory_bytes: 1 << 30, ..Host::default() };
        let host = HostEnergy::find(machine.root(), &host);
        Self { metering: metering(), host: Followed::new(HOST.into(), vec![0], Meter::Host(Box::new(host))) }
    }

    fn poll(&mut self, second: u64) {
        self.host.poll(&self.metering, Duration::from_secs(second));
        assert_eq!(self.metering.imbalance(), 0, "in every interval");
    }

    /// What a receipt would say of a second of processor time.
    fn of_a_second(&self) -> (String, f64) {
        let used = EnergyUse { active_cpu: Duration::from_secs(1).into(), ..EnergyUse::default() };
        let estimate = self.metering.energy.of(0).estimate(&used);
        (estimate.source, estimate.active.joules())
    }

    fn code(&self) -> (RungState, String) {
        let report = self.metering.energy.reports().remove(0).1;
        let rapl = report.rungs.iter().find(|rung| rung.source.starts_with("RAPL")).unwrap();
        assert_eq!(rapl.state == RungState::InUse, rapl.reason.is_empty(), "{rapl:?}");
        (rapl.state, rapl.code.clone())
    }
}

/// What the ledger has after everything was offered to it.
async fn recorded(served: &Served) -> Vec<EnergyTotal> {
    served.metering.store_energy().await.unwrap();
    served.metering.ledger().reader().energy_totals().unwrap()
}

#[tokio::test]
async fn a_counter_that_wraps_is_followed_and_every_joule_is_carried() {
    let machine = Machine::new();
    let counter = |second: u64| RANGE_UJ - 60_000_000 + 20_000_000 * second;
    machine.counts_when(true, counter(0));
    let mut served = Served::on(&machine);
    for second in 0..10 {
        machine.counts_when(true, counter(second)).worked(Duration::from_secs(second));
        // Half of what the host works is for requests, as far as this process has worked at all.
        served.metering.work_of(0).stepped(Duration::from_millis(500), Duration::from_millis(500));
        served.poll(second);
    }
    assert_eq!(served.code(), (RungState::InUse, String::new()));
    assert!(served.of_a_second().0.starts_with("RAPL packages"), "{:?}", served.of_a_second());
    let totals = recorded(&served).await;
    let measured: Vec<_> = totals.iter().filter(|total| total.quality == "measured").collect();
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0].energy_nj.joules() % 20.0, 0.0, "whole seconds of 20 W, across the wrap: {measured:?}");
    assert!(measured[0].energy_nj.joules() >= 140.0, "{measured:?}");
    for total in &totals {
        assert_eq!(total.accounts.total(), total.energy_nj);
        assert_eq!((total.device.as_str(), total.unknown_ms), (HOST, 0));
    }
    assert!(measured[0].accounts.requests.get() > 0, "{measured:?}");
}

#[tokio::test]
async fn a_counter_that_is_missing_or_stuck_or_gone_leaves_a_labelled_model() {
    for (has_counter, state, code) in [(false, RungState::Missing, "absent"), (true, RungState::Refused, "stuck")] {
        let machine = Machine::new();
        machine.counts_when(has_counter, 0);
        let mut served = Served::on(&machine);
        for second in 0..10 {
            machine.worked(Duration::from_secs(second));
            served.poll(second);
        }
        assert_eq!(served.code(), (state, code.to_owned()));
        let (source, joules) = served.of_a_second();
        assert!(source.starts_with("W-per-vCPU model") && joules > 0.0, "{source}: {joules} J");
        let totals = recorded(&served).await;
        assert!(totals.iter().all(|total| total.quality == "modelled"), "{totals:?}");
        assert!(totals.iter().all(|total| total.energy_nj.get() > 0), "never as if nothing were drawn: {totals:?}");
    }
}

#[tokio::test]
async fn a_counter_that_cannot_be_read_any_more_is_dropped_with_its_reason() {
    let machine = Machine::new();
    machine.counts_when(true, 0);
    let mut served = Served::on(&machine);
    for second in 0..6 {
        machine.counts_when(true, 20_000_000 * second).worked(Duration::from_secs(second));
        served.poll(second);
    }
    assert_eq!(served.code().0, RungState::InUse);
    fs::write(machine.root().join("sys/class/powercap/intel-rapl:0/energy_uj"), "-5\n").unwrap();
    for second in 6..9 {
        machine.worked(Duration::from_secs(second));
        served.poll(second);
    }
    let (state, code) = served.code();
    assert!(state == RungState::Refused && !code.is_empty(), "{state:?} {code}");
    assert!(served.of_a_second().0.starts_with("W-per-vCPU model"));
    let totals = recorded(&served).await;
    assert_eq!(totals.iter().map(|total| total.quality.as_str()).collect::<Vec<_>>(), ["measured", "modelled"]);
}
