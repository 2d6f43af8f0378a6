//! What an architecture computes, written once: hyperparameters, and which mapped tensor serves where.
//!
//! A plan owns no weights: a [`Weight`] or [`Vector`] names a place in the files and borrows it from the mapping when
//! it is asked for. The exception are vectors that are stored as something else than the 32-bit floats that they are
//! used as: those are kept, as floats, with the plan. Shapes, types and alignment are checked when the plan is made, so
//! that a step can rely on them.

mod encoder;

use std::num::NonZeroUsize;
use std::sync::Arc;

use kernels::{Gate, Matrix, RopeStyle, WeightType};
use loader::{Artifact, Place};

pub use self::encoder::{EncoderLayer, EncoderPlan, Finish, Norm, Pooling, RankHead};

/// What a file's tensors are the weights of.
#[derive(Debug)]
pub enum Network {
    /// Goes on with texts.
    Decoder(Plan),
    /// Makes a vector, or a score, of each text.
    Encoder(EncoderPlan),
}

impl Network {
    /// Entries of the vocabulary: rows of the embedding.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Decoder(plan) => plan.vocabulary,
            Self::Encoder(plan) => plan.vocabulary,
        }
    }

    /// Memory of the vectors that are kept with the plan.
    #[must_use]
    pub fn converted_bytes(&self) -> usize {
        match self {
            Self::Decoder(plan) => plan.converted_bytes,
            Self::Encoder(plan) => plan.converted_bytes,
        }
    }
}

/// A decoder-only transformer over tensors of one artifact.
#[derive(Debug)]
pub struct Plan {
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Entries of the vocabulary: rows of the embedding.
    pub vocabulary: usize,
    /// Added to the mean square before its root is taken.
    pub rms_epsilon: f32,
    /// Factor of a token's embedding; 1 where the architecture has none.
    pub embedding_scale: f32,
    /// What the gate of the feed-forward network goes through.
    pub gating: Gate,
    /// Rotary position embeddings that layers choose from.
    pub ropes: Vec<Rope>,
    /// Embedding of a token: \[vocabulary, hidden\].
    pub token_embedding: Weight,
    /// Gain of the last norm: \[hidden\].
    pub output_norm: Vector,
    /// The head: \[vocabulary, hidden\]; the embedding itself where they are tied.
    pub output: Linear,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Memory that vectors take which are not used where they are mapped.
    pub converted_bytes: usize,
}

/// Rotary position embedding (arXiv:2104.09864): the angle of pair i at position p is
/// p · base^(−2i / dimensions) / divisors\[i\].
#[derive(Clone, Debug)]
pub struct Rope {
    /// Dimensions of a head that turn: even.
    pub dimensions: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Which dimensions form a pair.
    pub style: RopeStyle,
    /// Divisors of the frequencies, one for each pair: whatever stretches the context. Finite and above zero.
    pub divisors: Vec<f32>,
}

/// One transformer layer: attention, then a gated feed-forward network, each added to its input.
#[derive(Debug)]
pub struct Layer {
    /// Attention.
    pub attention: Attention,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
}

/// norm → queries, keys, values → their norms → RoPE → attention → output → norm.
#[derive(Debug)]
pub struct Attention {
    /// Gain of the norm before: \[hidden\].
    pub norm: Vector,
    /// Queries: \[heads · head_dim, hidden\].
    pub query: Linear,
    /// Keys: \[kv_heads · head_dim, hidden\].
    pub key: Linear,
    /// Values: \[kv_heads · head_dim, hidden\].
    pub value: Linear,
    /// Norms of each head's query and key.
    pub head_norms: Option<HeadNorms>,
    /// Which of [`Plan::ropes`] turns queries and keys; none leaves them without a position.
    pub rope: Option<usize>,
    /// How many positions a token sees, its own included; none for all before it.
    pub window: Option<NonZeroUsize>,
    /// Factor of the scores.
    pub scale: f32,
    /// Back to the hidden state: \[hidden, heads · head_dim\].
    pub output: Linear,
    /// Gain of the norm of what is added to the hidden state: \[hidden\].
    pub post_norm: Option<Vector>,
}

/// Gains of the norms of single heads, before RoPE: \[head_dim\] each.
#[derive(Debug)]
pub struct HeadNorms {
    /// Of a query.
    pub query: Vector,
    /// Of a key.
    pub key: Vector,
}

/// norm → activation(gate) · up → down → norm.
#[derive(Debug)]
pub struct FeedForward {
    /// Gain of the norm before: \[hidden\].
    pub norm: Vector,
    /// Gate: \[feed_forward, hidden\].
    pub gate: Linear,
    /// Up: \[feed_forward, hidden\].
    pub up: Linear,
    /// Down: \[hidden, feed_forward\].
    pub down: Linear,
    /// Gain of the norm of what is added to the hidden state: \[hidden\].
    pub post_norm: Option<Vector>,
}

/// A product with a matrix, and what is added to it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The matrix: \[rows, width\].
    pub weight: Weight,
    /// The bias: \[rows\].
    pub bias: Option<Vector>,
}

/// A matrix in the file.
#[derive(Clone, Debug)]
pub struct Weight {
    pub(crate) name: String,
    pub(crate) ty: WeightType,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) place: Place,
}

/// A vector of 32-bit floats: a norm's gain, a product's bias.
#[derive(Clone, Debug)]
pub struct Vector {
    pub(crate) name: String,
    pub(crate) values: Values,
}

/// Where a vector's numbers are.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// In the file, as they are used.
    Mapped(Place),
    /// Here, made of what the file has.
    Converted(Arc<[f32]>),
}

impl Weight {
    /// Name of the tensor in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows and width of the matrix.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// How its weights are stored.
    #[must_use]
    pub fn ty(&self) -> WeightType {
        self.ty
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The matrix, where `artifact` is mapped. `artifact` must be the one the plan was made from.
    #[must_use]
    pub fn matrix<'a>(&self, artifact: &'a Artifact) -> Matrix<'a> {
        let bytes = artifact.bytes(&self.place);
        Matrix::new(self.ty, self.rows, self.width, bytes).expect("the shape was checked when the plan was made")
    }
}

impl Vector {
    /// How many numbers it has.
    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Mapped(place) => place.range.len() / size_of::<f32>(),
            Values::Converted(values) => values.len(),
        }
    }

    /// The vector, where `artifact` is mapped. `artifact` must be the one the plan was made from.
    #[must_use]
    pub fn values<'a>(&'a self, artifact: &'a Artifact) -> &'a [f32] {
        match &self.values {
            Values::Mapped(place) => bytemuck::cast_slice(artifact.bytes(place)),
            Values::Converted(values) => values,
        }
    }

    /// Name of the tensor in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
