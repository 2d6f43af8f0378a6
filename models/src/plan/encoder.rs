//! An encoder: each token sees the whole text, and what comes out is one vector, or one score, for all of it.

use super::{Linear, Vector, Weight};

/// A post-norm transformer encoder (BERT's) over tensors of one file.
#[derive(Debug)]
pub struct EncoderPlan {
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens of a text at most: rows of the positions' embedding.
    pub context_length: usize,
    /// Entries of the vocabulary: rows of the embedding.
    pub vocabulary: usize,
    /// Added to the variance by every norm.
    pub norm_epsilon: f32,
    /// Memory of the vectors that are kept with the plan.
    pub converted_bytes: usize,
    /// Embedding of a token: \[vocabulary, hidden\].
    pub token_embedding: Weight,
    /// Embedding of a position: \[context_length, hidden\].
    pub position_embedding: Weight,
    /// Embedding of a token's type (first or second text of a pair): \[types, hidden\].
    pub type_embedding: Option<Weight>,
    /// Norm of the three embeddings' sum.
    pub embedding_norm: Norm,
    /// The layers, first to last.
    pub layers: Vec<EncoderLayer>,
    /// How a text's hidden states become one vector.
    pub pooling: Pooling,
    /// What becomes of the vector.
    pub finish: Finish,
}

/// Gain and bias of a layer norm: \[hidden\] each.
#[derive(Debug)]
pub struct Norm {
    /// The factor.
    pub gain: Vector,
    /// The term.
    pub bias: Vector,
}

/// norm(x + attention(x)) → norm(x + down(gelu(up(x)))).
#[derive(Debug)]
pub struct EncoderLayer {
    /// Queries: \[hidden, hidden\].
    pub query: Linear,
    /// Keys: \[hidden, hidden\].
    pub key: Linear,
    /// Values: \[hidden, hidden\].
    pub value: Linear,
    /// Factor of the scores.
    pub scale: f32,
    /// Back to the hidden state: \[hidden, hidden\].
    pub output: Linear,
    /// Norm after attention is added.
    pub attention_norm: Norm,
    /// Up: \[feed_forward, hidden\].
    pub up: Linear,
    /// Down: \[hidden, feed_forward\].
    pub down: Linear,
    /// Norm after the feed-forward network is added.
    pub output_norm: Norm,
}

/// How the hidden states of a text become what is asked of it.
#[derive(Debug)]
pub enum Pooling {
    /// Their mean, as an embedding.
    Mean,
    /// That of the first token, as an embedding.
    First,
    /// That of the last token, as an embedding.
    Last,
    /// A score of a pair of texts, from that of the first token.
    Rank(Box<RankHead>),
}

/// What becomes of the pooled hidden state, or of the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is scaled to a length of one.
    LengthOne,
    /// It is what it is.
    AsComputed,
}

/// output(tanh(dense(x))).
#[derive(Debug)]
pub struct RankHead {
    /// \[hidden, hidden\]; none where the file has none.
    pub dense: Option<Linear>,
    /// \[1, hidden\].
    pub output: Linear,
}
