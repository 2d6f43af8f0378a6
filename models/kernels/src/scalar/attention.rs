//! Attention of one head of one token: scores, softmax, weighted sum.

use crate::attention::Queries;
use crate::scalar::halves::half_to_float;

/// Computes one output head with `scores` as scratch, one for each position that the token sees.
pub(crate) fn head(queries: &Queries<'_>, token: usize, head: usize, (scores, out): (&mut [f32], &mut [f32])) {
    let shape = queries.kv.shape();
    let kv_head = head / queries.group();
    let q = &queries.q[queries.head_start(token, head)..][..shape.head_dim];
    let seen = queries.seen(token);
    for (position, score) in seen.clone().zip(&mut *scores) {
        let keys = queries.kv.keys(position / shape.block_positions, queries.layer, kv_head);
        let place = position % shape.block_positions;
        let products = q.iter().enumerate().map(|(d, q)| q * half_to_float(keys[d * shape.key_stride() + place]));
        *score = products.sum::<f32>() * queries.scale;
    }
    crate::scalar::elementwise::softmax(scores);
    out.fill(0.0);
    for (position, weight) in seen.zip(scores) {
        let values = queries.kv.values(position / shape.block_positions, queries.layer, kv_head);
        let value = &values[position % shape.block_positions * shape.value_stride()..];
        out.iter_mut().zip(value).for_each(|(out, value)| *out += *weight * half_to_float(*value));
    }
}
