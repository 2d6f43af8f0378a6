use serde_json::{Value, json};

use super::*;
use crate::energy::EnergyModel;
use crate::processor::CpuDescription;
use crate::residency::RequestCharge;

fn measured() -> Measured {
    Measured {
        id: "chatcmpl-1".into(),
        tenant: "acme".into(),
        key_id: Some("key_1".into()),
        model: "m".into(),
        cold: true,
        outcome: Outcome::Completed,
        answered_from: AnsweredFrom::Model,
        tokens: MeasuredTokens { prompt: 30, cached: 10, completion: 5, ..MeasuredTokens::default() },
        times: MeasuredTimes {
            queue: Nanos::new(1),
            load_wait: Nanos::new(20),
            prefill: Nanos::new(300),
            decode: Nanos::new(4000),
            stall: Nanos::new(50_000),
            wall: Nanos::new(600_000),
        },
        cpu: MeasuredCpu {
            prefill: Nanos::new(1_000_000_000),
            decode: Nanos::new(500_000_000),
            load: Nanos::new(100_000_000),
        },
        memory: MeasuredMemory {
            weights: RequestCharge { active: KibMillis::new(8_000_000), load: KibMillis::new(400_000) },
            kv: KibMillis::new(100_000),
            weights_bytes: 80_000_000,
            quality: Quality::Derived,
        },
        busy: Nanos::new(700_000_000),
        kv_precision: None,
        sharing: StepSharing::WholeStep,
        routing: None,
    }
}

fn assemble(measured: Measured, rates: &RateCard) -> Receipt {
    let cpu = CpuDescription { vendor: "AuthenticAMD".into(), family: 23, model: 1, ..CpuDescription::default() };
    Receipt::assemble(measured, &EnergyModel::new(&cpu, 2, 8 << 30), &CarbonFactors::default(), rates)
}

#[test]
fn explains_itself_in_json() {
    let receipt = assemble(measured(), &RateCard::default());
    let expected = json!({
        "id": "chatcmpl-1", "tenant": "acme", "key_id": "key_1", "model": "m", "cold": true, "outcome": "completed",
        "tokens": {"prompt": 30, "cached": 10, "completion": 5, "total": 35},
        "times": {"queue_ns": 1, "load_wait_ns": 20, "prefill_ns": 300, "decode_ns": 4000, "stall_ns": 50_000,
                  "other_ns": 545_679, "wall_ns": 600_000, "quality": "measured"},
        "cpu": {"prefill_ns": 1_000_000_000, "decode_ns": 500_000_000, "load_ns": 100_000_000,
                "total_ns": 1_600_000_000, "quality": "measured"},
        "memory": {"weights_kib_ms": 8_000_000, "load_kib_ms": 400_000, "kv_kib_ms": 100_000,
                   "byte_seconds": 8_704_000.0, "weights_bytes": 80_000_000, "quality": "derived"},
        // Dynamic 1.757 W × 1.5 s and × 0.1 s; idle 2 × 0.847 W × byte-time ÷ 8 GiB.
        "energy": {"joules": 2.812_916_494, "total_nj": 2_812_916_494_u64, "active_nj": 2_635_500_000_u64,
                   "load_nj": 175_780_776, "residency_nj": 1_635_718,
                   "source": "W-per-vCPU model (Cloud Carbon Footprint, EPYC 1st generation: 0.847 to 2.604 W)",
                   "quality": "modelled", "scope": "host at the wall: processor, memory and the rest of the machine",
                   "relative_uncertainty": 0.5},
        "carbon": {"grams_co2e": 0.000_371, "micrograms_co2e": 371, "intensity_grams_per_kwh": 475,
                   "intensity_source": "World, mean of 2023 (CodeCarbon), location-based",
                   "intensity_quality": "assumed", "pue": 1.0, "quality": "modelled"},
        "cost": {"amount": 0.000_014_059_577, "pico_units": 14_059_577, "currency": "USD",
                 "rate_card": "OpenCost defaults",
                 "parts": [{"resource": "cpu", "pico_units": 14_049_333}, {"resource": "memory", "pico_units": 10_244}],
                 "missing": []},
        "method": {"answered_from": "model", "steps": "whole_step", "notes": [
            "whole step: one sequence per batch",
            "weights: their files' size, or their copy's, split equally over active tenants, then over each tenant's requests"]},
    });
    assert_eq!(serde_json::to_value(&receipt).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Receipt>(expected).unwrap(), receipt);
}

#[test]
fn a_choice_of_device_is_told_with_what_it_was_made_of() {
    let candidate = |device: &str, excluded: Option<&str>| RoutedCandidate {
        device: device.into(),
        predicted_finish_ms: excluded.is_none().then_some(12.5),
        predicted_joules: None,
        predicted_cost: None,
        excluded: excluded.map(str::to_owned),
    };
    let routing = Routing {
        policy: "latency".into(),
        device: "cpu".into(),
        reason: "spilled".into(),
        candidates: vec![candidate("gpu", Some("its queue is full")), candidate("cpu", None)],
    };
    let receipt = assemble(Measured { routing: Some(routing), ..measured() }, &RateCard::default());
    let told = serde_json::to_value(&receipt).unwrap();
    let candidates = &told["method"]["routing"]["candidates"];
    assert_eq!(
        (&candidates[0]["excluded"], &candidates[1]["predicted_finish_ms"]),
        (&json!("its queue is full"), &json!(12.5))
    );
    assert_eq!(candidates[1].get("excluded"), None);
    assert_eq!(serde_json::from_value::<Receipt>(told).unwrap(), receipt);
}

#[test]
fn every_section_sums_to_its_whole() {
    let receipt = assemble(measured(), &RateCard::default());
    let times = receipt.times;
    let spans = [times.queue_ns, times.load_wait_ns, times.prefill_ns, times.decode_ns, times.stall_ns, times.other_ns];
    assert_eq!(spans.into_iter().sum::<Nanos>(), times.wall_ns);
    let energy = &receipt.energy;
    assert_eq!(
        [energy.active_nj, energy.load_nj, energy.residency_nj].into_iter().sum::<Nanojoules>(),
        energy.total_nj
    );
    let parts: PicoUnits = receipt.cost.parts.iter().map(|part| part.pico_units).sum();
    assert_eq!(Some(parts), receipt.cost.pico_units);

    let mut overlapping = measured();
    overlapping.times.wall = Nanos::new(10);
    let times = assemble(overlapping, &RateCard::default()).times;
    assert_eq!((times.other_ns, times.wall_ns), (Nanos::ZERO, Nanos::new(54_321)));
}

#[test]
fn a_missing_price_is_null_and_a_note_not_zero() {
    let receipt = assemble(measured(), &RateCard { memory_gb_hour: None, ..RateCard::default() });
    let json = serde_json::to_value(&receipt).unwrap();
    assert_eq!(json["cost"]["amount"], Value::Null);
    assert_eq!(json["cost"]["pico_units"], Value::Null);
    assert_eq!(json["cost"]["missing"], json!(["memory"]));
    assert!(receipt.method.notes.iter().any(|note| note.starts_with("cost unknown")), "{:?}", receipt.method.notes);
}

#[test]
fn a_cancelled_request_says_what_it_is_charged_for() {
    let receipt = assemble(Measured { outcome: Outcome::Cancelled, ..measured() }, &RateCard::default());
    assert!(receipt.method.notes.iter().any(|note| note.starts_with("cancelled")), "{:?}", receipt.method.notes);
}

#[test]
fn what_keys_and_values_were_kept_as_is_said() {
    let receipt = assemble(Measured { kv_precision: Some("q8_0"), ..measured() }, &RateCard::default());
    assert_eq!(receipt.method.notes.last().unwrap(), "keys and values: kept as q8_0");
}

#[test]
fn more_cached_than_prompt_tokens_are_only_the_prompt() {
    let tokens = MeasuredTokens { prompt: 3, cached: 9, completion: 0, ..MeasuredTokens::default() };
    let receipt = assemble(Measured { tokens, ..measured() }, &RateCard::default());
    assert_eq!(receipt.tokens, ReceiptTokens { prompt: 3, cached: 3, completion: 0, total: 3, ..receipt.tokens });
}

#[test]
fn rejected_drafts_are_compute_and_no_tokens() {
    let tokens = MeasuredTokens { drafted: 9, accepted: 4, ..measured().tokens };
    let drafting = Measured { tokens, ..measured() };
    let rates = RateCard { completion_token: Some(PicoUnits::new(1_000)), ..RateCard::default() };
    let (with, without) = (assemble(drafting, &rates), assemble(measured(), &rates));
    let told = serde_json::to_value(&with).unwrap();
    assert_eq!(
        told["tokens"],
        json!({"prompt": 30, "cached": 10, "completion": 5, "total": 35, "drafted": 9, "accepted_draft": 4})
    );
    assert_eq!((with.cost, with.cpu), (without.cost, without.cpu), "its processor time was measured with the others'");
    assert!(with.method.notes.iter().any(|note| note.starts_with("drafts: 4 of 9")), "{:?}", with.method.notes);
    assert_eq!(serde_json::from_value::<Receipt>(told).unwrap().tokens, with.tokens);
    // A receipt from before there were any.
    let before: ReceiptTokens =
        serde_json::from_value(json!({"prompt": 3, "cached": 1, "completion": 2, "total": 5})).unwrap();
    assert_eq!((before.drafted, before.accepted_draft), (0, 0));
}

#[test]
fn outcomes_are_named_alike_everywhere() {
    for outcome in [Outcome::Completed, Outcome::Cancelled, Outcome::Failed, Outcome::Crashed] {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
    }
    assert_eq!(Outcome::from_name("done"), None);
}

#[test]
fn how_steps_were_shared_is_said_in_json_and_in_a_sentence() {
    use crate::step_costs::EqualReason;
    let said = |sharing: StepSharing| {
        let method = assemble(Measured { sharing, ..measured() }, &RateCard::default()).method;
        let json = serde_json::to_value(&method).unwrap();
        assert_eq!(serde_json::from_value::<ReceiptMethod>(json.clone()).unwrap(), method);
        (json["steps"].clone(), method.notes[0].clone())
    };
    let (steps, note) = said(StepSharing::Affine { fit_error_ratio: 0.0312 });
    assert_eq!(steps, json!({"affine": {"fit_error_ratio": 0.0312}}));
    assert!(note.ends_with("the fit was 3.1 % off on average"), "{note}");
    for (reason, name, why) in [
        (EqualReason::FewSteps, "few_steps", "too few"),
        (EqualReason::Collinear, "collinear", "do not tell"),
        (EqualReason::PoorFit, "poor_fit", "close to"),
    ] {
        let (steps, note) = said(StepSharing::Equal { reason });
        assert_eq!(steps, json!({"equal": {"reason": name}}));
        assert!(note.contains("equal share") && note.contains(why), "{note}");
    }
}

/// Of an answer that an earlier request had computed.
fn found() -> Measured {
    Measured {
        cold: false,
        answered_from: AnsweredFrom::ResponseCache,
        tokens: MeasuredTokens { prompt: 30, cached: 30, completion: 5, ..MeasuredTokens::default() },
        times: MeasuredTimes { wall: Nanos::new(70_000), ..MeasuredTimes::default() },
        cpu: MeasuredCpu::default(),
        memory: MeasuredMemory {
            weights: RequestCharge::default(),
            kv: KibMillis::ZERO,
            weights_bytes: 0,
            quality: Quality::Derived,
        },
        ..measured()
    }
}

#[test]
fn an_answer_from_the_response_cache_says_so_and_took_nothing() {
    let receipt = assemble(found(), &RateCard::default());
    assert_eq!((receipt.energy.total_nj, receipt.cost.pico_units), (Nanojoules::ZERO, Some(PicoUnits::ZERO)));
    assert_eq!((receipt.times.other_ns, receipt.times.wall_ns), (Nanos::new(70_000), Nanos::new(70_000)));
    let method = serde_json::to_value(&receipt.method).unwrap();
    assert_eq!((&method["answered_from"], &method["steps"]), (&json!("response_cache"), &Value::Null));
    assert!(receipt.method.notes[0].starts_with("response cache"), "{:?}", receipt.method.notes);
    let read: Receipt = serde_json::from_value(serde_json::to_value(&receipt).unwrap()).unwrap();
    assert_eq!(read, receipt);
}

#[test]
fn tokens_that_were_found_have_the_price_of_cached_ones() {
    let rates = RateCard {
        prompt_token: Some(PicoUnits::new(100)),
        cached_token: Some(PicoUnits::new(3)),
        completion_token: Some(PicoUnits::new(1000)),
        ..RateCard::default()
    };
    let of = |receipt: &Receipt| {
        let tokens = [Resource::PromptTokens, Resource::CachedTokens, Resource::CompletionTokens];
        tokens.map(|resource| {
            let part = receipt.cost.parts.iter().find(|part| part.resource == resource);
            part.map(|part| part.pico_units.get())
        })
    };
    assert_eq!(of(&assemble(found(), &rates)), [Some(0), Some(35 * 3), Some(0)]);
    assert_eq!(of(&assemble(measured(), &rates)), [Some(20 * 100), Some(10 * 3), Some(5 * 1000)]);
}

#[test]
fn a_row_from_before_there_was_a_response_cache_is_read() {
    let receipt = assemble(measured(), &RateCard::default());
    let mut row = serde_json::to_value(&receipt).unwrap();
    assert!(row["method"].as_object_mut().unwrap().remove("answered_from").is_some());
    assert_eq!(serde_json::from_value::<Receipt>(row).unwrap(), receipt);
}

#[test]
fn a_receipt_says_whether_the_kernel_told_what_is_resident() {
    let told = |quality| {
        let measured = measured();
        let memory = MeasuredMemory { quality, ..measured.memory };
        let receipt = assemble(Measured { memory, ..measured }, &RateCard::default());
        (receipt.memory.quality, receipt.method.notes[1].contains("the kernel says"))
    };
    assert_eq!(told(Quality::Measured), (Quality::Measured, true));
    assert_eq!(told(Quality::Derived), (Quality::Derived, false));
}
