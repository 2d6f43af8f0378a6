//! The receipt of a request, as both examples write it: 150 tokens in a second of one processor.

use meter::receipt::{
    AnsweredFrom, MeasuredCpu, MeasuredMemory, MeasuredTimes, MeasuredTokens, Outcome, Receipt, StepSharing,
};
use meter::{CarbonFactors, CpuDescription, EnergyModel, KibMillis, Measured, Nanos, Quality, RateCard, RequestCharge};

/// What of a request is told apart.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) model: String,
    pub(crate) key_id: Option<String>,
    /// It waited for a load.
    pub(crate) cold: bool,
}

/// Its receipt.
pub(crate) fn receipt(request: Request) -> Receipt {
    let Request { id, tenant, model, key_id, cold } = request;
    let measured = Measured {
        id,
        tenant,
        key_id,
        model,
        cold,
        outcome: Outcome::Completed,
        answered_from: AnsweredFrom::Model,
        tokens: MeasuredTokens { prompt: 100, cached: 0, completion: 50, ..MeasuredTokens::default() },
        times: MeasuredTimes { wall: Nanos::new(1_000_000_000), ..MeasuredTimes::default() },
        cpu: MeasuredCpu { prefill: Nanos::new(1_000_000_000), ..MeasuredCpu::default() },
        memory: MeasuredMemory {
            weights: RequestCharge::default(),
            kv: KibMillis::new(1000),
            weights_bytes: 100_000_000,
            quality: Quality::Measured,
        },
        busy: Nanos::default(),
        kv_precision: None,
        sharing: StepSharing::WholeStep,
        routing: None,
    };
    let energy = EnergyModel::new(&CpuDescription::default(), 2, 8 << 30);
    Receipt::assemble(measured, &energy, &CarbonFactors::default(), &RateCard::default())
}
