use models::generation::{Echo, End, Ending, GenerationRequest, Shown, Tokens};
use models::sampling::Sampling;

use super::*;

/// A generation from a prompt of 40 tokens, with so many answers of 40 tokens.
fn generation(choices: usize) -> Generation {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    loader::fixture::tiny_model(&loader::fixture::TinyModel::default()).write_to(&path).unwrap();
    let artifact = loader::Artifact::open(&path).unwrap();
    let descriptor = models::Descriptor::of(&artifact, None).unwrap();
    let request = GenerationRequest {
        prompts: vec![(0..40).map(|index| 3 + index).collect()],
        choices,
        tokens_max: Tokens::AtMost(40),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        grammar: None,
        stop: Vec::new(),
        end: End::Ignored,
        ending: Ending::default(),
        control_tokens: Shown::No,
        echo: Echo::Nothing,
        logprobs: None,
        context: 512,
    };
    Generation::new(request, Arc::new(descriptor))
}

/// Takes steps whose likeliest token is always the same, until the answer `choice` has `tokens` of its own.
fn advance(generation: &mut Generation, choice: usize, tokens: usize) {
    let mut outputs = Vec::new();
    let (mut of_choice, mut steps) = (0, 0);
    while of_choice < tokens {
        let computed = match generation.input(256) {
            Input::Run { tokens, .. } => tokens.len(),
            Input::Reuse => 0,
            Input::Done => panic!("it is done after {steps} steps"),
        };
        let before = generation.counts().completion;
        let mut logits = vec![0.0; 275];
        logits[10] = 1.0;
        generation.absorb(computed, &mut logits, &mut outputs).unwrap();
        steps += 1;
        let drawn = usize::try_from(generation.counts().completion - before).unwrap();
        // The first 40 tokens are the first answer's.
        let first_of_choice = 40 * choice;
        let done = usize::try_from(generation.counts().completion).unwrap();
        of_choice += if done > first_of_choice { drawn } else { 0 };
    }
}

#[test]
fn a_preempted_second_answer_takes_over_no_page_behind_the_prompt() {
    let mut two = generation(2);
    advance(&mut two, 1, 35);
    two.preempted();
    // All of it is to be computed again: the prompt, and what of this answer there is.
    assert!(two.reusable().len() > 64, "{}", two.reusable().len());
    let whole_pages = |tokens: &[u32]| (tokens.len() - 1) / KV_BLOCK_POSITIONS;
    assert_eq!(whole_pages(findable(&two, Extent::Prompt)), 1, "of the prompt's 40 tokens");
    assert_eq!(findable(&two, Extent::Prompt), &two.reusable()[..41]);
    // The only answer of a request may go on behind pages of its own.
    let mut one = generation(1);
    advance(&mut one, 0, 35);
    one.preempted();
    assert_eq!(whole_pages(findable(&one, Extent::Whole)), 2);
}

#[test]
fn a_prompt_that_has_not_begun_is_findable_as_a_whole() {
    let two = generation(2);
    assert_eq!(findable(&two, Extent::Prompt), two.reusable());
    assert_eq!(findable(&two, Extent::Prompt).len(), 40);
}
