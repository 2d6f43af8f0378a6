//! What a request has computed so far, for whoever follows it from another thread.
//!
//! Each figure alone is right at some moment of the last step; together they are of the same step or of two that follow
//! one another, which is as exact as a checkpoint needs to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meter::receipt::{MeasuredCpu, MeasuredTokens};
use meter::{KibMillis, Nanos, SplitMethod};
use models::generation::TokenCounts;
use scheduler::{Phase, StepCost};

/// What a request has computed so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    drafted_tokens: AtomicU64,
    accepted_tokens: AtomicU64,
    prefill_cpu_ns: AtomicU64,
    decode_cpu_ns: AtomicU64,
    busy_ns: AtomicU64,
    own_kib_ms: AtomicU64,
    sharing: Mutex<Option<SplitMethod>>,
}

impl Progress {
    /// A step of the request is done.
    pub(super) fn note(
        &self,
        counts: TokenCounts,
        (phase, share): (Phase, StepCost),
        (own, sharing): (KibMillis, SplitMethod),
    ) {
        *self.sharing() = Some(sharing);
        let TokenCounts { prompt, cached, completion, drafted, accepted, recomputed: _ } = counts;
        self.prompt_tokens.store(prompt, Ordering::Relaxed);
        self.cached_tokens.store(cached, Ordering::Relaxed);
        self.completion_tokens.store(completion, Ordering::Relaxed);
        self.drafted_tokens.store(drafted, Ordering::Relaxed);
        self.accepted_tokens.store(accepted, Ordering::Relaxed);
        self.own_kib_ms.store(own.get(), Ordering::Relaxed);
        let of_phase = match phase {
            Phase::Prefill => &self.prefill_cpu_ns,
            Phase::Decode => &self.decode_cpu_ns,
        };
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        of_phase.fetch_add(nanos(share.cpu), Ordering::Relaxed);
        self.busy_ns.fetch_add(nanos(share.wall), Ordering::Relaxed);
    }

    /// Tokens.
    pub(crate) fn tokens(&self) -> MeasuredTokens {
        MeasuredTokens {
            prompt: self.prompt_tokens.load(Ordering::Relaxed),
            cached: self.cached_tokens.load(Ordering::Relaxed),
            completion: self.completion_tokens.load(Ordering::Relaxed),
            drafted: self.drafted_tokens.load(Ordering::Relaxed),
            accepted: self.accepted_tokens.load(Ordering::Relaxed),
        }
    }

    /// Processor time of its steps, beside that of loading the model.
    pub(crate) fn cpu(&self) -> MeasuredCpu {
        let span = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed)).into();
        MeasuredCpu { prefill: span(&self.prefill_cpu_ns), decode: span(&self.decode_cpu_ns), ..MeasuredCpu::default() }
    }

    /// Its part of the time for which the device computed.
    pub(crate) fn busy(&self) -> Nanos {
        Nanos::new(self.busy_ns.load(Ordering::Relaxed))
    }

    /// How its part of the steps' cost was found.
    pub(crate) fn method(&self) -> SplitMethod {
        self.sharing().unwrap_or(SplitMethod::WholeStep)
    }

    fn sharing(&self) -> MutexGuard<'_, Option<SplitMethod>> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its keys and values held over time, but for those that others can find.
    pub(crate) fn kv(&self) -> KibMillis {
        KibMillis::new(self.own_kib_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_by_phase() {
        let progress = Progress::default();
        let share = |nanos| StepCost { wall: Duration::from_nanos(2 * nanos), cpu: Duration::from_nanos(nanos) };
        let method = SplitMethod::Affine { fit_error_ratio: 0.5 };
        assert_eq!(progress.method(), SplitMethod::WholeStep);
        let counts = |prompt, completion| TokenCounts { prompt, cached: 2, completion, ..TokenCounts::default() };
        progress.note(counts(7, 0), (Phase::Prefill, share(100)), (KibMillis::new(1), method));
        progress.note(counts(7, 1), (Phase::Decode, share(10)), (KibMillis::new(2), method));
        let last = TokenCounts { drafted: 5, accepted: 3, recomputed: 1, ..counts(7, 2) };
        progress.note(last, (Phase::Decode, share(11)), (KibMillis::new(3), method));
        assert_eq!(progress.tokens(), MeasuredTokens { prompt: 7, cached: 2, completion: 2, drafted: 5, accepted: 3 });
        assert_eq!(progress.method(), method);
        let cpu = progress.cpu();
        assert_eq!((cpu.prefill.get(), cpu.decode.get(), progress.kv().get()), (100, 21, 3));
        assert_eq!(progress.busy().get(), 242);
    }
}
