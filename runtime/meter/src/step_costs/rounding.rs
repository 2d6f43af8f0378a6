//! Integer parts of a whole in proportion to shares, in place.

/// What the shares sum to once they are integers, about: shares are told apart to fifteen digits, and a product of two such
/// sums fits into 128 bits.
const SHARES_SUM: f64 = (1_u64 << 50) as f64;

/// Puts a part of `total` for each of `shares` into `parts`, which is empty, by largest remainder, the earlier one on a tie.
/// `false`, and no parts, if they are no shares: negative, not finite, or all zero.
pub(super) fn split_by_shares(total: u128, shares: impl Iterator<Item = f64> + Clone, parts: &mut Vec<u128>) -> bool {
    let sum: f64 = shares.clone().sum();
    if !(sum > 0.0 && sum.is_finite()) || shares.clone().any(|share| share < 0.0) {
        return false;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2⁵⁰: checked above")]
    parts.extend(shares.map(|share| u128::from((share / sum * SHARES_SUM).round() as u64)));
    let count = parts.len();
    let weights: u128 = parts.iter().sum();
    if weights == 0 {
        parts.clear();
        return false;
    }
    // total · weight ÷ weights, without the product that may not fit; remainders go behind the parts for a moment, with
    // their place so that the earlier of two equal ones is the larger.
    let (times, rest) = (total / weights, total % weights);
    let mut left = total;
    for place in 0..count {
        let weight = parts[place];
        let part = times * weight + rest * weight / weights;
        left -= part;
        parts[place] = part;
        parts.push(keyed(rest * weight % weights, place));
    }
    let (parts_alone, remainders) = parts.split_at_mut(count);
    remainders.sort_unstable();
    for &remainder in remainders.iter().rev() {
        if left == 0 {
            break;
        }
        parts_alone[place_of(remainder)] += 1;
        left -= 1;
    }
    parts.truncate(count);
    true
}

/// Puts `count` parts of `total` that differ by at most one into `parts`, which is empty, the larger ones first.
pub(super) fn split_equally_into(total: u128, count: usize, parts: &mut Vec<u128>) {
    let Some(divisor) = u128::try_from(count).ok().filter(|&count| count > 0) else { return };
    let (part, over) = (total / divisor, total % divisor);
    parts.extend((0..divisor).map(|place| part + u128::from(place < over)));
}

/// A remainder (below 2⁵¹) above its place.
fn keyed(remainder: u128, place: usize) -> u128 {
    (remainder << 64) | u128::from(u64::MAX - place as u64)
}

fn place_of(keyed: u128) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half, which was a place")]
    let place = u64::MAX - keyed as u64;
    usize::try_from(place).expect("it was a usize")
}
