use super::*;
use crate::arbitrary::Arbitrary;

/// F, a, b, c in nanoseconds: what a small model costs.
const TRUE: [f64; 4] = [2e6, 1.2e5, 9e5, 40.0];

fn work(prefill_tokens: u32, decode_tokens: u32, kv_positions: u64) -> StepWork {
    StepWork { prefill_tokens, decode_tokens, kv_positions }
}

/// From 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(arbitrary: &mut Arbitrary) -> f64 {
    (arbitrary.any() >> 11) as f64 / (1_u64 << 53) as f64
}

fn small(arbitrary: &mut Arbitrary, limit: u64) -> u32 {
    u32::try_from(arbitrary.below(limit)).unwrap()
}

/// Up to eight sequences, one in four of which computes a part of its prompt.
fn batch(arbitrary: &mut Arbitrary) -> Vec<StepWork> {
    let one = |arbitrary: &mut Arbitrary| {
        let position = arbitrary.below(4000);
        if arbitrary.below(4) == 0 {
            let tokens = small(arbitrary, 512) + 1;
            work(tokens, 0, u64::from(tokens) * position)
        } else {
            work(0, 1, position)
        }
    };
    (0..=arbitrary.below(8)).map(|_| one(arbitrary)).collect()
}

fn true_ns(costs: [f64; 4], batch: &[StepWork]) -> f64 {
    Fit {
        fixed_ns: costs[0],
        prefill_token_ns: costs[1],
        decode_token_ns: costs[2],
        kv_position_ns: costs[3],
        error_ratio: 0.0,
    }
    .predicted_ns(&Features::of(batch))
}

/// After `steps` steps of these `costs`, each off by up to `noise` of itself.
fn learned(seed: u64, steps: usize, costs: [f64; 4], noise: f64) -> StepCosts {
    let (mut arbitrary, mut learning) = (Arbitrary::new(seed), StepCosts::new());
    for _ in 0..steps {
        let batch = batch(&mut arbitrary);
        let wall_ns = true_ns(costs, &batch) * (1.0 + noise * (2.0 * unit(&mut arbitrary) - 1.0));
        learning.learn(Duration::from_secs_f64(wall_ns / 1e9), &batch);
    }
    learning
}

fn split(costs: &StepCosts, cost: u128, work: &[StepWork]) -> (Vec<u128>, SplitMethod) {
    // What was in it is of no meaning.
    let mut parts = vec![7; 3];
    let method = costs.split(cost, work, &mut parts);
    (parts, method)
}

#[track_caller]
fn assert_near(found: f64, expected: f64, share: f64) {
    assert!((found - expected).abs() <= share * expected.abs(), "{found} is not near {expected}");
}

#[test]
fn what_steps_cost_is_found_from_noisy_ones() {
    for seed in 0..8 {
        let fit = learned(seed, 1500, TRUE, 0.05).fit().unwrap();
        assert_near(fit.fixed_ns, TRUE[0], 0.15);
        assert_near(fit.prefill_token_ns, TRUE[1], 0.02);
        assert_near(fit.decode_token_ns, TRUE[2], 0.1);
        assert_near(fit.kv_position_ns, TRUE[3], 0.1);
        // Half of the largest error, as it is uniform.
        assert_near(fit.error_ratio, 0.025, 0.3);
    }
}

#[test]
fn what_costs_nothing_is_found_to_and_never_less() {
    for (seed, free) in (0..16).zip([1, 2, 3, 0].into_iter().cycle()) {
        let mut costs = TRUE;
        costs[free] = 0.0;
        let fit = learned(seed, 800, costs, 0.05).fit().unwrap();
        let found = [fit.fixed_ns, fit.prefill_token_ns, fit.decode_token_ns, fit.kv_position_ns];
        assert!(found.iter().all(|&cost| cost >= 0.0), "{found:?}");
        assert!(found[free] < 0.2 * TRUE[free], "{free}: {found:?}");
    }
}

#[test]
fn a_prompt_beside_seven_decoders_carries_an_eighth_of_the_fixed_cost() {
    let mut step = vec![work(0, 1, 100); 7];
    step.push(work(512, 0, 0));
    // All of it is fixed.
    let (parts, method) = split(&learned(1, 600, [5e6, 0.0, 0.0, 0.0], 0.0), 8_000_000, &step);
    assert!(matches!(method, SplitMethod::Affine { fit_error_ratio } if fit_error_ratio < 1e-6), "{method:?}");
    assert!(parts.iter().all(|part| part.abs_diff(1_000_000) < 10), "an eighth each, and not 98.7 %: {parts:?}");
    // With what it computes beside that.
    let costs = learned(1, 600, TRUE, 0.0);
    let fit = costs.fit().unwrap();
    let (parts, _) = split(&costs, 1_000_000_000, &step);
    let expected = (fit.fixed_ns / 8.0 + 512.0 * fit.prefill_token_ns) / fit.predicted_ns(&Features::of(&step));
    assert!(parts[7].abs_diff(to_u128(expected * 1e9)) < 10, "{parts:?} for {expected}");
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive figure of a test")]
fn to_u128(figure: f64) -> u128 {
    figure.round() as u128
}

#[test]
fn a_step_of_one_is_its_own_whatever_is_known() {
    for costs in [StepCosts::new(), learned(1, 600, TRUE, 0.0)] {
        assert_eq!(split(&costs, u128::MAX, &[work(1, 0, 0)]), (vec![u128::MAX], SplitMethod::WholeStep));
    }
}

#[test]
fn without_a_good_fit_it_is_equal_and_says_why() {
    let step = [work(512, 0, 0), work(0, 1, 9), work(0, 1, 9)];
    let equally = |costs: &StepCosts, why| {
        let (parts, method) = split(costs, 11, &step);
        assert_eq!((parts, method), (vec![4, 4, 3], SplitMethod::Equal { reason: why }));
        assert_eq!(costs.predict(&step), None);
    };
    equally(&StepCosts::new(), EqualReason::FewSteps);
    equally(&learned(3, 49, TRUE, 0.0), EqualReason::FewSteps);
    let mut few = StepCosts::new();
    (0..40).for_each(|_| few.learn(Duration::from_millis(3), &[work(1, 1, 7); 2]));
    equally(&few, EqualReason::FewSteps);
    assert!(matches!(split(&learned(3, 50, TRUE, 0.0), 11, &step).1, SplitMethod::Affine { .. }));
    // One that is too poor to split by still tells who plans by it something, and one that is far off nothing.
    let poor = learned(3, 600, TRUE, 0.5);
    let error_ratio = poor.fit().unwrap().error_ratio;
    assert!(error_ratio > FIT_ERROR_RATIO_MAX && error_ratio < PREDICTION_ERROR_RATIO_MAX, "{error_ratio}");
    assert_eq!(split(&poor, 11, &step).1, SplitMethod::Equal { reason: EqualReason::PoorFit });
    assert_near(poor.predict(&step).unwrap().as_secs_f64() * 1e9, true_ns(TRUE, &step), PREDICTION_ERROR_RATIO_MAX);
    let mut hopeless = learned(3, 50, TRUE, 0.0);
    for number in 0..600_u32 {
        let step = vec![work(number % 7, 1, u64::from(number % 11)); 1 + number as usize % 5];
        hopeless.learn(Duration::from_millis(if number % 2 == 0 { 1 } else { 300 }), &step);
    }
    assert!(hopeless.fit().unwrap().error_ratio > PREDICTION_ERROR_RATIO_MAX);
    equally(&hopeless, EqualReason::PoorFit);

    let alike = |step: fn(u64) -> StepWork| {
        let mut costs = StepCosts::new();
        (0..600).for_each(|number| costs.learn(Duration::from_millis(3), &[step(number); 2]));
        costs
    };
    equally(&alike(|_| work(1, 1, 7)), EqualReason::Collinear);
    equally(&alike(|number| work(small(&mut Arbitrary::new(number), 100), 1, 0)), EqualReason::Collinear);
    // Positions always twice the tokens.
    equally(&alike(|number| work(1 + (number % 50) as u32, 0, 2 * (1 + number % 50))), EqualReason::Collinear);
}

#[test]
fn steps_that_have_become_alike_are_predicted_by_those_before_as_long_as_that_is_right() {
    let mut costs = learned(3, 600, TRUE, 0.0);
    let alike = vec![work(0, 1, 50); 4];
    let true_wall = |step: &[StepWork]| Duration::from_secs_f64(true_ns(TRUE, step) / 1e9);
    (0..8_000).for_each(|_| costs.learn(true_wall(&alike), &alike));
    assert_eq!(split(&costs, 8, &alike).1, SplitMethod::Equal { reason: EqualReason::Collinear });
    for step in [&alike[..1], &[work(64, 0, 2_080), work(0, 1, 9)]] {
        assert_near(costs.predict(step).unwrap().as_secs_f64() * 1e9, true_ns(TRUE, step), 0.02);
    }
    // The machine has become three times as slow.
    (0..1_000).for_each(|_| costs.learn(3 * true_wall(&alike), &alike));
    assert_eq!(costs.predict(&alike), None);
}

#[test]
fn work_of_a_kind_that_was_never_measured_is_not_guessed_at() {
    let mut costs = StepCosts::new();
    let mut arbitrary = Arbitrary::new(5);
    for _ in 0..600 {
        let step = vec![work(0, 1, 0); arbitrary.index(8) + 1];
        costs.learn(Duration::from_secs_f64(true_ns(TRUE, &step) / 1e9), &step);
    }
    let known = [work(0, 1, 0), work(0, 2, 0)];
    assert!(matches!(split(&costs, 100, &known).1, SplitMethod::Affine { .. }));
    assert_near(costs.predict(&known).unwrap().as_secs_f64() * 1e9, true_ns(TRUE, &known), 0.01);
    let unknown = [work(0, 1, 0), work(9, 0, 0)];
    assert_eq!(split(&costs, 100, &unknown).1, SplitMethod::Equal { reason: EqualReason::Collinear });
    assert_eq!((costs.predict(&unknown), costs.predict(&[])), (None, None));
}

#[test]
fn what_changed_is_forgotten_and_one_step_that_was_held_up_moves_little() {
    let mut costs = learned(1, 3000, TRUE, 0.02);
    let step = [work(0, 1, 1000), work(0, 1, 2000)];
    let before = costs.predict(&step).unwrap().as_secs_f64();
    costs.learn(Duration::from_secs(10), &step);
    assert_near(costs.predict(&step).unwrap().as_secs_f64(), before, 0.01);
    // A machine of half the speed.
    let (mut arbitrary, slower) = (Arbitrary::new(2), TRUE.map(|cost| 2.0 * cost));
    for _ in 0..3000 {
        let step = batch(&mut arbitrary);
        costs.learn(Duration::from_secs_f64(true_ns(slower, &step) / 1e9), &step);
    }
    assert_near(costs.predict(&step).unwrap().as_secs_f64(), 2.0 * before, 0.05);
}

/// Whatever was learned and whatever is split.
#[test]
fn parts_always_sum_to_the_cost_and_equal_work_is_charged_alike() {
    let fits: Vec<_> = (0..8).map(|seed| learned(seed, 20 * usize::try_from(seed).unwrap(), TRUE, 0.1)).collect();
    let mut affine = 0;
    for seed in 0..4000 {
        let mut arbitrary = Arbitrary::new(seed);
        let costs = &fits[arbitrary.index(fits.len())];
        let mut step = batch(&mut arbitrary);
        if arbitrary.below(4) == 0 {
            step.push(step[0]);
        }
        let cost = u128::from(arbitrary.any()) << arbitrary.below(65) | u128::from(arbitrary.below(1000));
        let (parts, method) = split(costs, cost, &step);
        assert_eq!(parts.iter().sum::<u128>(), cost, "seed {seed}: {method:?}");
        affine += usize::from(matches!(method, SplitMethod::Affine { .. }));
        for (i, one) in step.iter().enumerate() {
            for (j, other) in step.iter().enumerate() {
                let apart = parts[i].abs_diff(parts[j]);
                assert!(one != other || apart <= 1, "seed {seed}: {step:?} gave {parts:?}");
            }
        }
    }
    assert!(affine > 1000, "the rule is tried: {affine}");
}

#[test]
fn shares_are_within_one_of_the_exact_ones_and_the_larger_work_never_pays_less() {
    let costs = learned(4, 600, TRUE, 0.05);
    let fit = costs.fit().unwrap();
    for seed in 0..500 {
        let step = batch(&mut Arbitrary::new(seed));
        let (parts, _) = split(&costs, 1_000_000, &step);
        let predicted = fit.predicted_ns(&Features::of(&step));
        for (one, &part) in step.iter().zip(&parts) {
            let exact = (fit.fixed_ns / count(&step) + fit.marginal_ns(one)) / predicted * 1e6;
            assert!(part.abs_diff(to_u128(exact)) <= 1, "seed {seed}: {part} for {exact}");
        }
    }
}

#[test]
fn hostile_figures_neither_panic_nor_lose_a_unit() {
    let extremes = [0, 1, u64::from(u32::MAX), u64::MAX];
    for seed in 0..200 {
        let mut arbitrary = Arbitrary::new(seed);
        let any = |arbitrary: &mut Arbitrary| {
            let pick = |arbitrary: &mut Arbitrary| extremes[arbitrary.index(4)];
            let token = |figure: u64| u32::try_from(figure).unwrap_or(u32::MAX);
            work(token(pick(arbitrary)), token(pick(arbitrary)), pick(arbitrary))
        };
        let mut costs = StepCosts::new();
        for _ in 0..120 {
            let step: Vec<_> = (0..arbitrary.below(5)).map(|_| any(&mut arbitrary)).collect();
            let wall = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(3), Duration::MAX];
            costs.learn(wall[arbitrary.index(4)], &step);
            let cost = [0, 1, u128::MAX - 1, u128::MAX][arbitrary.index(4)];
            let (parts, _) = split(&costs, cost, &step);
            assert_eq!(parts.len(), step.len());
            assert!(step.is_empty() || parts.iter().sum::<u128>() == cost, "seed {seed}");
            let _ = (costs.predict(&step), costs.fit());
        }
    }
}

#[test]
fn methods_are_named_in_json() {
    for (method, expected) in [
        (SplitMethod::WholeStep, serde_json::json!("whole_step")),
        (SplitMethod::Affine { fit_error_ratio: 0.25 }, serde_json::json!({"affine": {"fit_error_ratio": 0.25}})),
        (SplitMethod::Equal { reason: EqualReason::FewSteps }, serde_json::json!({"equal": {"reason": "few_steps"}})),
    ] {
        assert_eq!(serde_json::to_value(method).unwrap(), expected);
        assert_eq!(serde_json::from_value::<SplitMethod>(expected).unwrap(), method);
    }
}

#[test]
fn a_request_names_the_method_that_most_of_its_cost_was_split_by() {
    let affine = |fit_error_ratio| SplitMethod::Affine { fit_error_ratio };
    let equal = |reason| SplitMethod::Equal { reason };
    let mut tally = SplitTally::default();
    assert_eq!(tally.method(), SplitMethod::WholeStep);
    tally.add(10, equal(EqualReason::FewSteps));
    tally.add(11, equal(EqualReason::PoorFit));
    tally.add(20, SplitMethod::WholeStep);
    assert_eq!(tally.method(), equal(EqualReason::PoorFit), "equal parts count together");
    tally.add(30, affine(0.1));
    tally.add(10, affine(0.02));
    assert_eq!(tally.method(), affine(0.08), "of the cost that it split");
    tally.add(u128::MAX, SplitMethod::WholeStep);
    tally.add(u128::MAX, SplitMethod::WholeStep);
    assert_eq!(tally.method(), SplitMethod::WholeStep);
}
