use super::*;
use crate::engine::Drafts;
use crate::executor::fair::VirtualTimes;
use crate::limits::SHARED_PERCENT;
use crate::testing::Random;

pub(in crate::executor) const BOUNDS: StepBounds =
    StepBounds { tokens_max: 256, sequences_max: 64, wall_max: Duration::from_millis(60) };

pub(in crate::executor) fn decode(id: u64, tenant: usize) -> Candidate {
    let demand = Demand {
        phase: Phase::Decode,
        tokens: 1,
        kv_positions: 100,
        room_bytes: 0,
        batching: Batching::Together,
        drafts: Drafts::default(),
    };
    Candidate { id: SequenceId(id), tenant, priority: Priority::Normal, demand, stepped: 0 }
}

fn prompt(id: u64, tenant: usize, tokens: u32) -> Candidate {
    let demand = Demand { phase: Phase::Prefill, tokens, kv_positions: tokens, ..decode(id, tenant).demand };
    Candidate { demand, ..decode(id, tenant) }
}

fn encoder(id: u64, tenant: usize) -> Candidate {
    let mut candidate = prompt(id, tenant, 9);
    candidate.demand.batching = Batching::Alone;
    candidate
}

fn time(micros: u64) -> VirtualTime {
    let mut times = VirtualTimes::new(Duration::ZERO);
    times.charge(&(), Duration::from_micros(micros), NonZeroU32::MIN);
    times.time(&())
}

fn share(weight: u32, time: VirtualTime) -> Share {
    Share { weight: NonZeroU32::new(weight).unwrap(), standing: Standing { time, stepped: 0 } }
}

/// Tenants of equal weight with these virtual times, in microseconds.
fn tenants(times: &[u64]) -> Vec<Share> {
    times.iter().map(|&micros| share(1, time(micros))).collect()
}

fn scene<'a>(candidates: &'a [Candidate], tenants: &'a [Share]) -> Scene<'a> {
    let company = if candidates.len() > 1 { Company::Others } else { Company::Nobody };
    Scene { candidates, tenants, company, bounds: BOUNDS }
}

fn unknown(_: StepWork) -> Option<Duration> {
    None
}

/// 10 ms for the weights, 0.5 ms for each token.
fn affine(work: StepWork) -> Option<Duration> {
    Some(Duration::from_micros(10_000 + 500 * u64::from(work.prefill_tokens + work.decode_tokens)))
}

/// Ids and tokens of the members.
fn composed(scene: &Scene<'_>, predict: Predict<'_>) -> Vec<(u64, u32)> {
    let chosen = compose(scene, predict).into_iter();
    chosen.map(|member| (scene.candidates[member.index].id.0, member.tokens)).collect()
}

#[test]
fn decodes_step_together_and_prompts_beside_them() {
    let candidates = [prompt(1, 0, 40), decode(2, 0), decode(3, 1), prompt(4, 1, 100)];
    let composed = composed(&scene(&candidates, &tenants(&[0, 0])), &unknown);
    assert_eq!(composed, [(2, 1), (3, 1), (1, 40), (4, 24)], "64 prompt tokens where nothing can be predicted");
}

#[test]
fn a_prompt_that_nobody_waits_for_takes_what_a_client_may_leave_within() {
    let candidates = [prompt(1, 0, 1_000)];
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &affine), [(1, 100)], "10 + 100 × 0.5 ms");
    let quick = |work| affine(work).map(|wall| wall / 10);
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &quick), [(1, 256)]);
    let slow = |work| affine(work).map(|wall| 10 * wall);
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &slow), [(1, CHUNK_TOKENS_ALONE_MIN)]);
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &unknown), [(1, CHUNK_TOKENS_ALONE_MIN)]);
}

#[test]
fn chunks_are_cut_to_the_time_that_others_may_wait() {
    let candidates = [decode(1, 0), prompt(2, 0, 1_000)];
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &affine), [(1, 1), (2, 99)], "10 + 100 × 0.5 ms");
    let slow = |work| affine(work).map(|wall| 4 * wall);
    let twice_as_long_as_the_decode = [(1, 1), (2, 21)];
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &slow), twice_as_long_as_the_decode);
    let steep = |work: StepWork| affine(StepWork { prefill_tokens: 100 * work.prefill_tokens, ..work });
    assert_eq!(composed(&scene(&candidates, &tenants(&[0])), &steep), [(1, 1), (2, CHUNK_TOKENS_MIN)]);
}

#[test]
fn prompts_go_on_beside_however_many_decode() {
    // 64 decodes take 10 + 64 × 0.5 ms, and are slowed down by as much.
    let mut candidates: Vec<_> = (0..64).map(|id| decode(id, 0)).collect();
    candidates.push(prompt(64, 0, 1_000));
    let members = composed(&scene(&candidates, &tenants(&[0])), &affine);
    assert_eq!((members.len(), members[64]), (65, (64, 84)));
}

/// 1 ms for the weights, 1 ms for each token: a short step takes 12 ms.
fn light(work: StepWork) -> Option<Duration> {
    Some(Duration::from_millis(1 + u64::from(work.prefill_tokens + work.decode_tokens)))
}

#[test]
fn where_tenants_come_and_go_steps_are_short_and_decodes_rotate() {
    let mut candidates: Vec<_> = (0..44).map(|id| decode(id, 0)).collect();
    let tenants = tenants(&[0]);
    let visited = |candidates: &[Candidate], predict| {
        compose(&Scene { company: Company::Visitors, ..scene(candidates, &tenants) }, predict)
    };
    let mut stepped = vec![0; candidates.len()];
    for step in 1..=8 {
        let members = visited(&candidates, &light);
        assert_eq!(members.len(), 11, "1 + 11 ms");
        for member in members {
            candidates[member.index].stepped = step;
            stepped[member.index] += 1;
        }
    }
    assert_eq!(stepped, [2; 44]);
    assert_eq!(visited(&candidates, &unknown).len(), 44);
    let heavy = |work: StepWork| light(work).map(|wall| 100 * wall);
    assert_eq!(visited(&candidates, &heavy).len(), 11, "as many decodes, however long each takes");
    let quick = |work: StepWork| light(work).map(|wall| wall / 5);
    assert_eq!(visited(&candidates, &quick).len(), 44, "10 ms are no long time");
}

#[test]
fn where_tenants_come_and_go_prompts_have_half_of_a_short_step() {
    let mut candidates: Vec<_> = (0..60).map(|id| decode(id, 0)).collect();
    candidates.push(prompt(60, 0, 1_000));
    let tenants = tenants(&[0]);
    let scene = Scene { company: Company::Visitors, ..scene(&candidates, &tenants) };
    let members = composed(&scene, &light);
    assert_eq!((members.len(), members[5]), (6, (60, CHUNK_TOKENS_MIN)), "1 + 5 ms, and the least chunk");
    let tokens = |work: StepWork| u64::from(work.prefill_tokens + work.decode_tokens);
    let quick = |work: StepWork| Some(Duration::from_micros(1_000 + 100 * tokens(work)));
    let members = composed(&scene, &quick);
    assert_eq!((members.len(), members[40]), (41, (60, 50)), "1 + 40 × 0.1 + 50 × 0.1 ms");
}

#[test]
fn one_that_was_away_has_its_steps_nearly_to_itself() {
    let mut candidates: Vec<_> = (1..64).map(|id| decode(id, 1)).collect();
    candidates.push(decode(0, 0));
    let others = |behind_micros: u64| {
        let tenants = tenants(&[1_000_000, 1_000_000 + behind_micros]);
        let members = composed(&scene(&candidates, &tenants), &affine);
        assert!(members.contains(&(0, 1)));
        members.len() - 1
    };
    // 10 + 0.5 ms, and 40 % or 10 % of that.
    assert_eq!((others(99_999), others(100_000)), (8, 2));
}

#[test]
fn prompts_go_in_the_order_in_which_sequences_begin() {
    let urgent = Candidate { priority: Priority::High, ..prompt(4, 1, 5) };
    let can_wait = Candidate { priority: Priority::Low, ..prompt(0, 0, 5) };
    let candidates = [can_wait, prompt(1, 1, 5), prompt(2, 0, 5), prompt(3, 0, 5), urgent];
    let ids: Vec<_> =
        composed(&scene(&candidates, &tenants(&[0, 7])), &unknown).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [2, 3, 4, 1, 0]);
}

#[test]
fn decodes_rotate_and_every_tenant_has_one_where_there_are_too_many() {
    let mut candidates: Vec<_> = (0..100).map(|id| decode(id, 0)).collect();
    candidates.push(decode(100, 1));
    let tenants = tenants(&[0, 1_000]);
    let mut stepped = vec![0; candidates.len()];
    let mut steps = 0;
    for _ in 0..10 {
        let members = compose(&scene(&candidates, &tenants), &unknown);
        assert_eq!(members.len(), BOUNDS.sequences_max);
        for member in members {
            steps += 1;
            candidates[member.index].stepped = steps;
            stepped[member.index] += 1;
        }
    }
    assert_eq!(stepped[100], 10);
    assert!(stepped[..100].iter().all(|steps| (6..=7).contains(steps)), "{stepped:?}");
}

#[test]
fn one_that_cannot_share_steps_alone_when_it_comes_first() {
    let candidates = [encoder(1, 0), encoder(2, 0), decode(3, 1)];
    assert_eq!(composed(&scene(&candidates, &tenants(&[0, 5])), &unknown), [(1, 256)]);
    assert_eq!(composed(&scene(&candidates, &tenants(&[5, 0])), &unknown), [(3, 1)]);
}

#[test]
fn nobody_is_slowed_down_by_more_than_a_fair_slice() {
    // Together they take 10 + 51 × 0.5 ms; the one decode alone 10.5 ms: twice that is fair, and two fifths of the second half
    // are had.
    let mut candidates: Vec<_> = (0..50).map(|id| decode(id, 0)).collect();
    candidates.push(decode(50, 1));
    let composed = composed(&scene(&candidates, &tenants(&[9, 0])), &affine);
    assert_eq!(composed.len(), 9, "10 + 9 × 0.5 ms is less than 14.7");
    assert!(composed.contains(&(50, 1)));
}

#[test]
fn the_tenant_with_the_most_time_is_the_one_left_out() {
    let candidates = [decode(1, 0), prompt(2, 1, 400)];
    let gentle = |work: StepWork| affine(StepWork { prefill_tokens: work.prefill_tokens / 3, ..work });
    assert_eq!(composed(&scene(&candidates, &tenants(&[0, 9])), &gentle), [(1, 1), (2, 16)], "its chunk shrinks first");
    let steep = |work: StepWork| affine(StepWork { prefill_tokens: 9 * work.prefill_tokens, ..work });
    assert_eq!(composed(&scene(&candidates, &tenants(&[0, 9])), &steep), [(1, 1)]);
    assert_eq!(composed(&scene(&candidates, &tenants(&[9, 0])), &steep), [(2, 16)], "then the other's turn comes");
}

#[test]
fn weights_say_how_much_is_fair() {
    let candidates = [decode(1, 0), prompt(2, 1, 400)];
    let heavy = share(4, time(9));
    let shares = [tenants(&[0])[0], heavy];
    assert_eq!(composed(&scene(&candidates, &shares), &affine), [(1, 1), (2, 24)], "two fifths of four slices");
    assert_eq!(composed(&scene(&candidates, &tenants(&[0, 9])), &affine), [(1, 1)], "and of one");
}

#[test]
fn any_scene_gives_a_step_that_harms_nobody() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let shares: Vec<_> = (0..1 + random.below(5))
            .map(|_| share(u32::try_from(1 + random.below(4)).unwrap(), time(random.below(50))))
            .collect();
        let candidates: Vec<_> = (0..1 + random.below(90))
            .map(|id| {
                let tenant = usize::try_from(random.below(shares.len() as u64)).unwrap();
                let stepped = random.below(9);
                let one = match random.below(9) {
                    0 => encoder(id, tenant),
                    1..=3 => prompt(id, tenant, u32::try_from(1 + random.below(700)).unwrap()),
                    _ => decode(id, tenant),
                };
                let priority = if random.below(4) == 0 { Priority::High } else { Priority::Normal };
                Candidate { stepped, priority, ..one }
            })
            .collect();
        let scene = scene(&candidates, &shares);
        let members = compose(&scene, &affine);
        check(&scene, &members, seed);
    }
}

fn check(scene: &Scene<'_>, members: &[Chosen], seed: u64) {
    assert!(!members.is_empty(), "seed {seed}");
    let mut indices: Vec<_> = members.iter().map(|member| member.index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), members.len(), "seed {seed}: twice in one step");
    let is_alone = |member: &Chosen| scene.candidates[member.index].demand.batching == Batching::Alone;
    if members.iter().any(is_alone) {
        return assert_eq!(members.len(), 1, "seed {seed}");
    }
    let decodes = members.iter().filter(|member| scene.decodes_next(member.index)).count();
    let tokens: u32 = members.iter().map(|member| member.tokens).sum();
    assert!(decodes <= BOUNDS.sequences_max && tokens <= BOUNDS.tokens_max, "seed {seed}");
    let of = |tenant: usize| members.iter().filter(move |member| scene.candidates[member.index].tenant == tenant);
    let work = |members: &mut dyn Iterator<Item = &Chosen>| members.map(|&member| scene.work(member)).sum();
    let whole = affine(work(&mut members.iter())).unwrap();
    let present: std::collections::BTreeSet<_> = scene.candidates.iter().map(|candidate| candidate.tenant).collect();
    let weights: u32 = scene.tenants.iter().map(|share| share.weight.get()).sum();
    for tenant in present.into_iter().filter(|&tenant| of(tenant).next().is_some()) {
        let alone = affine(work(&mut of(tenant))).unwrap();
        let own = scene.tenants[tenant].weight.get();
        let percent = 100 + u32::try_from(SHARED_PERCENT).unwrap() * (weights - own) / own;
        let fair = alone * percent / 100 + Duration::from_micros(1_000);
        let is_only_one = members.iter().all(|member| scene.candidates[member.index].tenant == tenant);
        assert!(whole <= fair || is_only_one, "seed {seed}: tenant {tenant} waits {whole:?}, {fair:?} is fair");
    }
}

#[test]
fn whoever_is_left_out_has_its_turn_soon() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let count = usize::try_from(2 + random.below(4)).unwrap();
        let mut candidates: Vec<_> = (0..20 + random.below(60))
            .map(|id| {
                let tenant = usize::try_from(random.below(count as u64)).unwrap();
                if random.below(3) == 0 { prompt(id, tenant, 1_000_000) } else { decode(id, tenant) }
            })
            .collect();
        let mut times = VirtualTimes::new(Duration::ZERO);
        let keys: Vec<_> = (0..count).collect();
        let mut last = vec![0_u64; count];
        for turn in 1..200 {
            times.meet(keys.iter());
            let shares: Vec<_> = keys.iter().map(|key| share(1, times.time(key))).collect();
            let scene = scene(&candidates, &shares);
            let members = compose(&scene, &affine);
            let wall = affine(members.iter().map(|&member| scene.work(member)).sum()).unwrap();
            let tokens: u32 = members.iter().map(|member| member.tokens).sum();
            for member in members {
                let candidate = &mut candidates[member.index];
                candidate.stepped = turn;
                last[candidate.tenant] = turn;
                times.charge(&candidate.tenant, wall * member.tokens / tokens, NonZeroU32::MIN);
            }
            let longest = keys.iter().map(|&key| turn - last[key]).max().unwrap();
            let absent = keys.iter().all(|key| candidates.iter().any(|one| one.tenant == *key));
            assert!(!absent || longest <= 40, "seed {seed}: a tenant was left out {longest} times");
        }
    }
}
