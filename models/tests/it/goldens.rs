//! SmolLM2 against llama.cpp's token ids, log-probabilities and perplexity.

use models::perplexity::perplexity;
use models::tokenizer::{Special, Start};
use serde_json::Value;

use crate::support::{executor, log_softmax, logits, smollm2};

fn goldens() -> Value {
    serde_json::from_str(include_str!("../goldens/smollm2-135m-instruct-q4_1.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn token_ids_equal_llama_cpps() {
    let model = smollm2();
    let tokenizer = &model.descriptor().tokenizer;
    for case in goldens()["tokenize"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let special = if case["parse_special"] == true { Special::Parsed } else { Special::Plain };
        let start = if case["add_special"] == true { Start::AsModel } else { Start::Bare };
        let tokens = tokenizer.encode(text, special, start).unwrap();
        assert_eq!(tokens, ids(&case["tokens"]), "{text:?}, {special:?}");
        assert_eq!(tokenizer.decode(&tokens), text);
    }
}

#[test]
fn forced_decoding_agrees_with_llama_cpps_log_probabilities() {
    let (model, mut executor) = (smollm2(), executor());
    let (mut difference, mut ours_to_exact, mut theirs_to_exact, mut steps) = (0.0, 0.0, 0.0, 0);
    for case in goldens()["greedy"].as_array().unwrap() {
        let prompt = ids(&case["prompt_ids"]);
        let steps_of = case["steps"].as_array().unwrap();
        let chosen: Vec<u32> =
            steps_of.iter().map(|step| u32::try_from(step["id"].as_u64().unwrap()).unwrap()).collect();
        let tokens: Vec<u32> = prompt.iter().chain(&chosen).copied().collect();
        let logits = logits(&mut executor, &model, &tokens, 7);
        let exact = models::reference::logits(&model, &tokens).unwrap();
        let exact: Vec<&[f32]> = exact.chunks_exact(model.plan().vocabulary).collect();
        for (index, step) in steps_of.iter().enumerate() {
            let ours = log_softmax(&logits[prompt.len() - 1 + index]);
            let theirs = step["logprob"].as_f64().unwrap();
            difference += (f64::from(ours[chosen[index] as usize]) - theirs).abs();
            let exact = f64::from(log_softmax(exact[prompt.len() - 1 + index])[chosen[index] as usize]);
            theirs_to_exact += (exact - theirs).abs();
            ours_to_exact += (exact - f64::from(ours[chosen[index] as usize])).abs();
            steps += 1;
            let top = step["top"].as_array().unwrap();
            let margin = top[0][1].as_f64().unwrap() - top[1][1].as_f64().unwrap();
            if margin > 0.5 {
                assert_eq!(
                    kernels::argmax(&ours) as u64,
                    top[0][0].as_u64().unwrap(),
                    "{} step {index}",
                    case["prompt"]
                );
            }
        }
    }
    let [mean, ours_to_exact, theirs_to_exact] =
        [difference, ours_to_exact, theirs_to_exact].map(|sum| sum / f64::from(steps));
    println!("mean |Δ log-probability| over {steps} steps: ours to llama.cpp {mean:.4}");
    println!("to candle with unrounded activations: ours {ours_to_exact:.4}, llama.cpp {theirs_to_exact:.4}");
    assert!(mean <= 0.1, "mean |Δ log-probability| {mean}");
}

#[test]
fn perplexity_agrees_with_llama_cpps() {
    let text = std::fs::read_to_string("/usr/share/common-licenses/Apache-2.0").unwrap();
    let (model, mut executor) = (smollm2(), executor());
    let tokens = model.descriptor().tokenizer.encode(&text, Special::Parsed, Start::AsModel).unwrap();
    let measured = perplexity(&mut executor, &model, &tokens, 512, usize::MAX).unwrap();
    println!("{measured:?}");
    // llama-perplexity of llama.cpp 11434, 4 chunks.
    assert_eq!((measured.chunks, measured.tokens), (4, 4 * 255));
    assert!((measured.perplexity / 15.9289 - 1.0).abs() < 0.01, "{measured:?}");
}
