//! Grammars of requests, compiled, and kept for whoever asks for the same again.
//!
//! Compiling may take long, and what a client sends is compiled: a few at a time, each on a thread of its own with a stack that
//! the deepest schema fits in, and bounded by counts (`models::grammar`). A model's tokens are arranged for grammars when
//! the first request wants that, and not when the model is loaded.
//!
//! Invariants: a grammar serves only the tenant that sent it, and the files whose tokens it was compiled for; no thread that
//! serves sockets or computes steps compiles anything; memory is bounded, the longest unused goes first.

use std::sync::Arc;

use loader::ArtifactIdentity;
use models::Descriptor;
use models::grammar::{Grammar, GrammarError, GrammarSource, Vocabulary};
use models::limits::GRAMMAR_STACK_BYTES;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits::{
    GRAMMAR_BYTES_ASSUMED, GRAMMAR_COMPILE_MAX, GRAMMARS_COMPILING_MAX, GRAMMARS_KIB_MAX, VOCABULARIES_KIB_MAX,
};

/// What is compiled.
pub(crate) struct Grammars {
    vocabularies: moka::sync::Cache<ArtifactIdentity, Arc<Vocabulary>>,
    compiled: moka::sync::Cache<Key, Arc<Grammar>>,
    compiling: Arc<Semaphore>,
}

/// Of tenant, files and grammar.
type Key = [u8; 32];

/// A grammar, and the files whose tokens it is for.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) identity: ArtifactIdentity,
    pub(crate) grammar: Arc<Grammar>,
}

/// Why there is no compiled grammar.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Uncompiled {
    /// It is wrong, or its model's tokens are.
    #[error(transparent)]
    Grammar(Arc<GrammarError>),
    /// It takes longer than anybody waits.
    #[error("it takes longer to compile than {} ms", GRAMMAR_COMPILE_MAX.as_millis())]
    TooSlow,
    /// Others are compiled, for as long as anybody waits.
    #[error("other grammars are compiled")]
    Busy,
    /// The thread could not be started, or died.
    #[error("the thread that compiles is gone")]
    Thread(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Grammars {
    pub(crate) fn new() -> Self {
        let kib = |bytes: usize| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let vocabularies = moka::sync::Cache::builder()
            .max_capacity(VOCABULARIES_KIB_MAX)
            .weigher(move |_, vocabulary: &Arc<Vocabulary>| kib(vocabulary.memory_bytes()));
        let compiled = moka::sync::Cache::builder()
            .max_capacity(GRAMMARS_KIB_MAX)
            .weigher(move |_, _: &Arc<Grammar>| kib(GRAMMAR_BYTES_ASSUMED));
        Self {
            vocabularies: vocabularies.build(),
            compiled: compiled.build(),
            compiling: Arc::new(Semaphore::new(GRAMMARS_COMPILING_MAX)),
        }
    }

    /// `source` for the tokens of `descriptor`, compiled now or before.
    ///
    /// # Errors
    /// [`Uncompiled`].
    pub(crate) async fn compiled(
        &self,
        tenant: &str,
        descriptor: &Arc<Descriptor>,
        source: &GrammarSource,
    ) -> Result<Compiled, Uncompiled> {
        let identity = descriptor.identity().clone();
        let key = key(tenant, &identity, source);
        if let Some(grammar) = self.compiled.get(&key) {
            return Ok(Compiled { identity, grammar });
        }
        let waiting = Arc::clone(&self.compiling).acquire_owned();
        let permit = tokio::time::timeout(GRAMMAR_COMPILE_MAX, waiting).await.map_err(|_| Uncompiled::Busy)?;
        let permit = permit.expect("nobody closes it");
        let (permit, vocabulary) = self.vocabulary(permit, descriptor).await?;
        let (compiled, source) = (self.compiled.clone(), source.clone());
        let compiling =
            on_a_thread(permit, move || compiled.try_get_with(key, || vocabulary.compile(&source).map(Arc::new)));
        let compiled = tokio::time::timeout(GRAMMAR_COMPILE_MAX, compiling).await;
        let (_, grammar) = compiled.map_err(|_| Uncompiled::TooSlow)??;
        Ok(Compiled { identity, grammar: grammar.map_err(Uncompiled::Grammar)? })
    }

    /// The tokens of `descriptor`, arranged now or before.
    async fn vocabulary(
        &self,
        permit: OwnedSemaphorePermit,
        descriptor: &Arc<Descriptor>,
    ) -> Result<(OwnedSemaphorePermit, Arc<Vocabulary>), Uncompiled> {
        if let Some(vocabulary) = self.vocabularies.get(descriptor.identity()) {
            return Ok((permit, vocabulary));
        }
        let (vocabularies, descriptor) = (self.vocabularies.clone(), Arc::clone(descriptor));
        let arranging = on_a_thread(permit, move || {
            let arrange = || Vocabulary::of(&descriptor.tokenizer).map(Arc::new);
            vocabularies.try_get_with(descriptor.identity().clone(), arrange)
        });
        let (permit, vocabulary) = arranging.await?;
        Ok((permit, vocabulary.map_err(Uncompiled::Grammar)?))
    }
}

/// Runs `work` to its end on a thread of its own, which holds `permit` for as long, whoever waits for it.
async fn on_a_thread<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(OwnedSemaphorePermit, T), Uncompiled> {
    let (sender, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(GRAMMAR_STACK_BYTES);
    let started = thread.spawn(move || {
        // Who asked may have left.
        let _ = sender.send((permit, work()));
    });
    started.map_err(|error| Uncompiled::Thread(error.into()))?;
    result.await.map_err(|error| Uncompiled::Thread(error.into()))
}

fn key(tenant: &str, identity: &ArtifactIdentity, source: &GrammarSource) -> Key {
    let mut digest = Sha256::new();
    let (kind, text) = source.canonical();
    for part in [tenant, kind, &text] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    identity.words().into_iter().for_each(|word| digest.update(word.to_le_bytes()));
    digest.finalize().into()
}
