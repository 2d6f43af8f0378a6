//! Which drafts a step computes beside the tokens of those who decode: a pure policy.
//!
//! A draft is worth the probability that it is right, which is that of all drafts before it as well; it costs what it adds to
//! the step. Of all that are offered the likeliest are taken, as many as are predicted to give the step the most tokens a
//! second, if that is [`DRAFTS_GAIN_PERCENT_MIN`] more than without any, and none of its members, drafting or not, prompt or
//! not, gets fewer tokens a second than without, but for [`DRAFTS_SLOW_PERCENT_MAX`]. Where many decode, a step costs about
//! what its tokens do, so that only drafts that are nearly certain pay, and of all members alike: there are none then.
//!
//! What a step costs is known from steps that were measured. So that it is known of those with drafts too, a sequence that
//! nobody waits beside computes a few now and then, if these are likely right ([`PROBE_EVERY`]); and in every step while
//! nothing can be predicted and they are as good as sure ([`SURE_RIGHT_PERMILLE_MIN`]).
//!
//! Invariants: the tokens of a step stay within its bound; nobody computes more drafts than it offered.

use std::time::Duration;

use super::batch::{Chosen, Company, Predict, Scene};
use crate::engine::StepWork;
use crate::limits::{
    DRAFTS_GAIN_PERCENT_MIN, DRAFTS_PER_STEP_MAX, DRAFTS_SLOW_PERCENT_MAX, PROBE_DRAFTS, PROBE_EVERY,
    PROBE_EVERY_UNPREDICTED, PROBE_RIGHT_PERMILLE_MIN, SURE_RIGHT_PERMILLE_MIN,
};

/// A draft that could be in the step.
#[derive(Clone, Copy, Debug)]
struct Offer {
    /// Among the members.
    place: usize,
    /// How likely it is right.
    right: f64,
}

/// The same members, some of them with drafts.
pub(super) fn draft(scene: &Scene<'_>, members: Vec<Chosen>, predict: Predict<'_>) -> Vec<Chosen> {
    let offers = offers(scene, &members);
    if offers.is_empty() {
        return members;
    }
    let plain = predict(work(scene, &members));
    let paying = plain.and_then(|plain| paying(scene, (&members, plain), &offers, predict));
    paying.unwrap_or_else(|| probe(scene, members, plain))
}

/// The likeliest drafts, those of each member in order.
fn offers(scene: &Scene<'_>, members: &[Chosen]) -> Vec<Offer> {
    let taken = members.iter().fold(0_u32, |sum, member| sum.saturating_add(member.tokens));
    let most = scene.bounds.tokens_max.saturating_sub(taken).min(DRAFTS_PER_STEP_MAX) as usize;
    let mut offers = Vec::new();
    for (place, member) in members.iter().enumerate().filter(|(_, member)| scene.decodes_next(member.index)) {
        let drafts = scene.candidates[member.index].demand.drafts;
        let each = f64::from(drafts.right_permille.min(1000)) / 1000.0;
        let mut right = 1.0;
        for _ in 0..drafts.tokens.min(DRAFTS_PER_STEP_MAX) {
            right *= each;
            offers.push(Offer { place, right });
        }
    }
    offers.sort_by(|one, other| other.right.total_cmp(&one.right));
    offers.truncate(most);
    offers
}

/// The members with as many of the `offers` as pay best; none where none do.
fn paying(
    scene: &Scene<'_>,
    (members, plain): (&[Chosen], Duration),
    offers: &[Offer],
    predict: Predict<'_>,
) -> Option<Vec<Chosen>> {
    let percent = |more: u32| 1.0 + f64::from(more) / 100.0;
    // Tokens that each is expected to get; one of a prompt goes on by its part of the step.
    let mut expected = vec![1.0; members.len()];
    let mut tokens: f64 = members.iter().map(|member| f64::from(u8::from(scene.decodes_next(member.index)))).sum();
    let mut best_rate = percent(DRAFTS_GAIN_PERCENT_MIN) * tokens / plain.as_secs_f64();
    let (mut trial, mut best) = (members.to_vec(), None);
    for offer in offers {
        trial[offer.place].tokens += 1;
        expected[offer.place] += offer.right;
        tokens += offer.right;
        let wall = predict(work(scene, &trial))?.as_secs_f64();
        let least = expected.iter().copied().fold(f64::INFINITY, f64::min);
        let is_harmless = wall <= percent(DRAFTS_SLOW_PERCENT_MAX) * plain.as_secs_f64() * least;
        if is_harmless && tokens / wall > best_rate {
            (best_rate, best) = (tokens / wall, Some(trial.clone()));
        }
    }
    best
}

/// The members with a few drafts, where it is time to see what they cost.
fn probe(scene: &Scene<'_>, mut members: Vec<Chosen>, plain: Option<Duration>) -> Vec<Chosen> {
    if let [member] = &mut members[..]
        && (scene.company == Company::Nobody || scene.company == Company::Visitors && scene.candidates.len() == 1)
    {
        let candidate = &scene.candidates[member.index];
        let drafts = candidate.demand.drafts;
        let room = scene.bounds.tokens_max.saturating_sub(member.tokens);
        let (every, most) = match plain {
            Some(_) => (PROBE_EVERY, PROBE_DRAFTS),
            // Not always as many: what a row costs is not seen in steps that are alike.
            None if drafts.right_permille >= SURE_RIGHT_PERMILLE_MIN => {
                let more = u32::try_from(candidate.stepped % u64::from(PROBE_DRAFTS)).unwrap_or(0);
                (1, PROBE_DRAFTS + more)
            }
            None => (PROBE_EVERY_UNPREDICTED, PROBE_DRAFTS),
        };
        // Each of its steps has the next number while it is alone.
        if drafts.right_permille >= PROBE_RIGHT_PERMILLE_MIN && candidate.stepped.is_multiple_of(every) {
            member.tokens += drafts.tokens.min(most).min(room);
        }
    }
    members
}

fn work(scene: &Scene<'_>, members: &[Chosen]) -> StepWork {
    members.iter().map(|&member| scene.work(member)).sum()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::{Demand, Drafts, Phase};
    use crate::executor::batch::tests::{BOUNDS, decode};
    use crate::executor::batch::{Candidate, Share, Standing, StepBounds, compose};
    use crate::testing::Random;

    fn decoding(id: u64, tokens: u32, right_permille: u16) -> Candidate {
        let one = decode(id, 0);
        let demand = Demand { drafts: Drafts { tokens, right_permille }, ..one.demand };
        Candidate { demand, stepped: 1, ..one }
    }

    fn prompt(id: u64, tokens: u32) -> Candidate {
        let demand = Demand { phase: Phase::Prefill, tokens, ..decoding(id, 0, 0).demand };
        Candidate { demand, ..decoding(id, 0, 0) }
    }

    /// 10 ms, and so many microseconds for each token.
    fn costs(token_micros: u64) -> impl Fn(StepWork) -> Option<Duration> {
        move |work| {
            Some(Duration::from_micros(10_000 + token_micros * u64::from(work.prefill_tokens + work.decode_tokens)))
        }
    }

    /// Tokens of each candidate, by its place.
    fn tokens(candidates: &[Candidate], bounds: StepBounds, predict: Predict<'_>) -> Vec<u32> {
        let company = if candidates.len() > 1 { Company::Others } else { Company::Nobody };
        let tenants = [Share { weight: NonZeroU32::MIN, standing: Standing::default() }];
        let members = compose(&Scene { candidates, tenants: &tenants, company, bounds }, predict);
        let mut tokens = vec![0; candidates.len()];
        members.iter().for_each(|member| tokens[member.index] += member.tokens);
        tokens
    }

    #[test]
    fn a_sequence_alone_drafts_as_far_as_the_next_one_pays() {
        let one = |right, micros| tokens(&[decoding(1, 15, right)], BOUNDS, &costs(micros))[0];
        assert_eq!(one(1000, 2_000), 16, "what is certain always pays");
        assert_eq!(one(0, 2_000), 1);
        assert_eq!(one(150, 2_000), 1, "a draft costs a sixth of a step");
        let some = one(800, 2_000);
        assert!((2..12).contains(&some), "{some}");
        assert!(one(800, 500) > some && one(900, 2_000) > some);
        assert_eq!(one(800, 40_000), 1, "where tokens cost nearly all, one that may be wrong never pays");
    }

    #[test]
    fn among_many_that_decode_drafts_pay_no_more() {
        let many = |right| {
            let candidates: Vec<_> = (0..16).map(|id| decoding(id, 8, right)).collect();
            tokens(&candidates, BOUNDS, &costs(3_000))
        };
        assert_eq!(many(800), [1; 16]);
        assert!(many(980).iter().sum::<u32>() > 16, "but where they are certain for all");
    }

    #[test]
    fn nobody_is_slower_for_the_drafts_of_another() {
        let candidates = [decoding(1, 8, 950), decoding(2, 0, 0)];
        assert_eq!(tokens(&candidates, BOUNDS, &costs(3_000)), [1, 1]);
        assert_eq!(tokens(&candidates, BOUNDS, &costs(100)), [6, 1], "a twentieth of 10.2 ms is five drafts");
        let candidates = [decoding(1, 8, 950), prompt(2, 20)];
        assert_eq!(tokens(&candidates, BOUNDS, &costs(3_000)), [2, 16], "a twentieth of 61 ms is one");
    }

    #[test]
    fn what_cannot_be_predicted_is_tried_now_and_then() {
        let at = |stepped, right| {
            let candidate = Candidate { stepped, ..decoding(1, 8, right) };
            tokens(&[candidate], BOUNDS, &|_| None)[0]
        };
        let tried = |right| (1..=100).filter(|&stepped| at(stepped, right) > 1).count();
        assert_eq!((tried(SURE_RIGHT_PERMILLE_MIN - 1), tried(SURE_RIGHT_PERMILLE_MIN)), (25, 100));
        assert_eq!(at(4, 800), 1 + PROBE_DRAFTS);
        assert_eq!(
            [4, 5, 6, 7].map(|stepped| at(stepped, 950)),
            [5, 6, 7, 8],
            "different ones, so that their cost is seen"
        );
        assert_eq!(at(4, PROBE_RIGHT_PERMILLE_MIN - 1), 1, "only what is likely right");
        let pair = [Candidate { stepped: 4, ..decoding(1, 8, 900) }, decoding(2, 8, 900)];
        assert_eq!(tokens(&pair, BOUNDS, &|_| None), [1, 1], "and where nobody waits");
        // What is thought not to pay may be thought wrongly.
        let dear = |stepped| tokens(&[Candidate { stepped, ..decoding(1, 8, 800) }], BOUNDS, &costs(40_000))[0];
        assert_eq!((1..=320).filter(|&stepped| dear(stepped) > 1).count(), 10);
    }

    #[test]
    fn bounds_hold_whatever_is_offered() {
        let mut random = Random::new(7);
        let mut drafted = 0;
        for _ in 0..2_000 {
            let mut small = |bound: u64| u32::try_from(random.below(bound)).unwrap();
            let candidates: Vec<_> = (0..1 + u64::from(small(12)))
                .map(|id| match small(4) {
                    0 => prompt(id, 1 + small(300)),
                    _ => decoding(id, small(40), u16::try_from(small(1200)).unwrap()),
                })
                .collect();
            let bounds = StepBounds { tokens_max: 16 + small(100), ..BOUNDS };
            let micros = u64::from(small(4_000));
            let with = tokens(&candidates, bounds, &costs(micros));
            let plain: Vec<_> = candidates
                .iter()
                .map(|one| Candidate { demand: Demand { drafts: Drafts::default(), ..one.demand }, ..*one })
                .collect();
            let without = tokens(&plain, bounds, &costs(micros));
            assert!(with.iter().sum::<u32>() <= bounds.tokens_max.max(without.iter().sum()));
            for ((candidate, with), without) in candidates.iter().zip(with).zip(without) {
                let drafts = with - without;
                assert!(drafts <= candidate.demand.drafts.tokens, "{candidate:?}: {drafts}");
                drafted += drafts;
            }
        }
        assert!(drafted > 1_000, "{drafted}");
    }
}
