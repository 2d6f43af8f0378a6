//! Attention of one head of one token: scores, softmax, weighted sum.

use crate::attention::Queries;

/// Computes one output head with `scores` as scratch, one for each position that the token sees.
pub(crate) fn head(queries: &Queries<'_>, token: usize, head: usize, (scores, out): (&mut [f32], &mut [f32])) {
    let shape = queries.kv.shape();
    let kv_head = head / queries.group();
    let q = &queries.q[queries.head_start(token, head)..][..shape.head_dim];
    let seen = queries.seen(token);
    let place = (queries.layer, kv_head);
    for (position, score) in seen.clone().zip(&mut *scores) {
        let products = q.iter().enumerate().map(|(d, q)| q * queries.kv.key_at(position, place, d));
        *score = products.sum::<f32>() * queries.scale;
    }
    crate::scalar::elementwise::softmax(scores);
    out.fill(0.0);
    for (position, weight) in seen.zip(scores) {
        for (d, out) in out.iter_mut().enumerate() {
            *out += *weight * queries.kv.value_at(position, place, d);
        }
    }
}
