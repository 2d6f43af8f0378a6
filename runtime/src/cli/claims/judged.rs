//! What became of a claim: claimed, measured, verdict, and why they differ.
//!
//! Invariants: a verdict follows from figures by the thresholds that are here, never from words; a claim that was not run
//! says why. Deliberately absent: the figures themselves.

use meter::energy::Quality;
use serde::Serialize;
use serde_json::Value;

/// How far below what is claimed a share may be and still hold: measurements of seconds scatter by as much.
const SHARE_TOLERANCE: f64 = 0.02;
/// A claim holds in part from this part of what is claimed on.
const PART: f64 = 0.5;

/// What is claimed.
pub(super) struct Claim {
    pub(super) number: u8,
    pub(super) claim: &'static str,
    pub(super) claimed: &'static str,
}

pub(super) const CLAIMS: [Claim; 9] = [
    Claim { number: 1, claim: "a model used 2 h of 24 costs less ephemeral than always on", claimed: "91.7 % less" },
    Claim { number: 2, claim: "100 users, 5 models: less memory than 100 copies", claimed: "95 % less" },
    Claim { number: 3, claim: "calculate_savings at 30 % utilisation", claimed: "~85 % saved" },
    Claim {
        number: 4,
        claim: "a shared pool is cheaper per token, and better utilised",
        claimed: "60 % cheaper; 60-80 % against 30-50 %",
    },
    Claim { number: 5, claim: "70 % shared context makes a request 70 % cheaper", claimed: "70 % cheaper" },
    Claim { number: 6, claim: "inference from nothing loaded", claimed: "under 100 ms" },
    Claim { number: 7, claim: "less energy for a million tokens", claimed: "75-80 % less; cloud 0.5-2.0 kWh" },
    Claim { number: 8, claim: "coordination takes fewer tokens and is faster", claimed: "32.3 % fewer; 2.8-4.4 times" },
    Claim { number: 9, claim: "prices at $0.02 for 1,000 tokens", claimed: "1 M: $20,000; 10,000: $200" },
];

/// What figures say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Verdict {
    #[serde(rename = "holds")]
    Holds,
    #[serde(rename = "holds in part")]
    InPart,
    #[serde(rename = "does not hold")]
    DoesNotHold,
    #[serde(rename = "arithmetic slip")]
    Slip,
    #[serde(rename = "not run")]
    NotRun,
}

impl Verdict {
    /// On a share that is claimed to be saved.
    pub(super) fn of_share(measured: f64, claimed: f64) -> Self {
        if measured >= claimed - SHARE_TOLERANCE {
            Self::Holds
        } else if measured >= claimed * PART {
            Self::InPart
        } else {
            Self::DoesNotHold
        }
    }

    /// On a claim in two halves.
    pub(super) fn of_halves(one: Self, other: Self) -> Self {
        if one == other { one } else { Self::InPart }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::InPart => "holds in part",
            Self::DoesNotHold => "DOES NOT HOLD",
            Self::Slip => "arithmetic slip",
            Self::NotRun => "not run",
        }
    }
}

/// What was found out about a claim.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// For people.
    pub(super) measured: String,
    pub(super) quality: Quality,
    pub(super) verdict: Verdict,
    /// Why claimed and measured differ, or do not.
    pub(super) why: String,
    /// Every figure that this is made of.
    pub(super) inputs: Value,
    /// How it was measured.
    pub(super) how: String,
}

/// A claim, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    pub(super) number: u8,
    pub(super) claim: &'static str,
    pub(super) claimed: &'static str,
    /// None if it was not run.
    pub(super) measured: Option<String>,
    pub(super) quality: Option<Quality>,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    pub(super) inputs: Value,
    pub(super) how: Option<String>,
}

impl Judged {
    pub(super) fn of(claim: &Claim, found: Found) -> Self {
        let Found { measured, quality, verdict, why, inputs, how } = found;
        let Claim { number, claim, claimed } = *claim;
        let (measured, quality, how) = (Some(measured), Some(quality), Some(how));
        Self { number, claim, claimed, measured, quality, verdict, why, inputs, how }
    }

    /// One that could not be run.
    pub(super) fn not_run(claim: &Claim, why: &str) -> Self {
        let Claim { number, claim, claimed } = *claim;
        let why = format!("not run: {why}");
        let (verdict, inputs) = (Verdict::NotRun, Value::Null);
        Self { number, claim, claimed, measured: None, quality: None, verdict, why, inputs, how: None }
    }
}

/// A share for people.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What was saved, for people: a loss says that it is more.
pub(super) fn saved_text(share: f64) -> String {
    if share < 0.0 { format!("{} more", percent(-share)) } else { format!("{} less", percent(share)) }
}

/// How much less `now` is than `before`, as a share of it: negative where it is more.
pub(super) fn less(now: f64, before: f64) -> f64 {
    if before > 0.0 { 1.0 - now / before } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_from_figures() {
        let of = |measured| Verdict::of_share(measured, 0.6);
        assert_eq!([of(0.9), of(0.6), of(0.581)], [Verdict::Holds; 3]);
        assert_eq!([of(0.57), of(0.3)], [Verdict::InPart; 2]);
        assert_eq!([of(0.29), of(0.0), of(-4.0)], [Verdict::DoesNotHold; 3]);
        assert_eq!(Verdict::of_halves(Verdict::Holds, Verdict::Holds), Verdict::Holds);
        assert_eq!(Verdict::of_halves(Verdict::DoesNotHold, Verdict::Holds), Verdict::InPart);
        assert_eq!(Verdict::of_halves(Verdict::DoesNotHold, Verdict::DoesNotHold), Verdict::DoesNotHold);
    }

    #[test]
    fn every_claim_has_its_number() {
        let numbers: Vec<u8> = CLAIMS.iter().map(|claim| claim.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_more_is_negatively_less() {
        assert_eq!((saved_text(0.5), saved_text(-0.25)), ("50.0 % less".into(), "25.0 % more".into()));
        assert_eq!((less(25.0, 100.0), less(150.0, 100.0), less(1.0, 0.0)), (0.75, -0.5, 0.0));
    }
}
