//! Asks what a workload says, when it says so.
//!
//! In an open loop nobody waits for an answer before asking: a request that finds as many others under way as there may
//! be is not sent, and counted. Invariants: the same workload and seed send the same bodies, with exactly as many tokens
//! as are said, whatever answers; nothing is repeated. Deliberately absent: judgement of what came back.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use meter::Receipt;
use models::tokenizer::{Special, Start, Tokenizer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::random::Random;
use super::workload::{Arrival, Pacing, Workload};
use crate::cli::ask::ask_for;
use crate::client::{Client, ClientError};
use crate::limits::BENCH_IN_FLIGHT_MAX;

/// What prompts are made of: frequent words.
const WORDS: &str = " time year people way day man thing life child world school state family group country problem hand \
                     part place case week company system program question work government number night point home";

/// Makes prompts.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Prompts {
    /// Names and words of the models, the words as token ids.
    models: Vec<(String, Vec<u32>)>,
    seed: u64,
}

/// What a request became.
#[derive(Clone, Debug)]
pub(in crate::cli::bench) struct Asked {
    /// Which one of the workload.
    pub(in crate::cli::bench) index: usize,
    /// After the beginning.
    pub(in crate::cli::bench) sent: Duration,
    /// After its time.
    pub(in crate::cli::bench) late: Duration,
    /// When its answer, or why there is none, had been read.
    pub(in crate::cli::bench) ended: Duration,
    /// What came back.
    pub(in crate::cli::bench) result: Result<Answered, String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Answered {
    /// From sending to the first piece.
    pub(in crate::cli) first: Duration,
    /// Of the text.
    pub(in crate::cli) digest: u64,
    /// What it cost.
    pub(in crate::cli) receipt: Receipt,
}

/// What all requests became.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::bench) struct Driven {
    /// Those that were sent, in the workload's order.
    pub(in crate::cli::bench) asked: Vec<Asked>,
    /// Those that found too many under way.
    pub(in crate::cli::bench) unsent: usize,
}

/// Where to ask, and what.
#[derive(Debug)]
pub(in crate::cli::bench) struct Driver {
    pub(in crate::cli::bench) workload: Arc<Workload>,
    pub(in crate::cli::bench) prompts: Arc<Prompts>,
    /// By tenant; none for one that asks nothing.
    pub(in crate::cli::bench) clients: Vec<Option<Client>>,
    pub(in crate::cli::bench) began: Instant,
    /// After which time from the beginning nobody asks any more in a closed loop.
    pub(in crate::cli::bench) until: Option<Duration>,
}

impl Prompts {
    /// Of these words' tokens.
    pub(in crate::cli) fn new(seed: u64) -> Self {
        Self { models: Vec::new(), seed }
    }

    /// Adds the next model.
    ///
    /// # Errors
    /// When it has no tokens for words.
    pub(in crate::cli) fn add(&mut self, name: &str, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        self.add_ids(name, tokenizer.encode(self.words(), Special::Plain, Start::Bare)?)
    }

    /// What prompts are made of.
    pub(in crate::cli::bench) fn words(&self) -> &'static str {
        WORDS
    }

    /// Adds the next model, whose tokens for the words these are.
    ///
    /// # Errors
    /// When there are none.
    pub(in crate::cli::bench) fn add_ids(&mut self, name: &str, ids: Vec<u32>) -> anyhow::Result<()> {
        anyhow::ensure!(!ids.is_empty(), "{name} has no tokens for words");
        self.models.push((name.to_owned(), ids));
        Ok(())
    }

    /// The body of request `index`.
    pub(in crate::cli) fn body(&self, index: usize, arrival: &Arrival) -> Value {
        let (name, words) = &self.models[arrival.model];
        let mut random = Random::new(self.seed ^ Random::new(index as u64).next());
        let prompt: Vec<u32> = (0..arrival.prompt_tokens).map(|_| words[random.index(words.len())]).collect();
        json!({
            "model": name,
            "prompt": prompt,
            "max_tokens": arrival.completion_tokens,
            "ignore_eos": true,
            "temperature": 0,
            "stream": true,
            "stream_options": { "include_usage": true },
        })
    }
}

impl Driver {
    /// Asks everything, and returns when all has been answered.
    pub(in crate::cli::bench) async fn drive(self) -> Driven {
        let driver = Arc::new(self);
        let mut driven = match driver.workload.pacing {
            Pacing::OpenLoop => Arc::clone(&driver).open_loop().await,
            Pacing::ClosedLoop => Arc::clone(&driver).closed_loop().await,
        };
        driven.asked.sort_by_key(|asked| asked.index);
        driven
    }

    async fn open_loop(self: Arc<Self>) -> Driven {
        let (mut driven, mut under_way) = (Driven::default(), JoinSet::new());
        let places = Arc::new(Semaphore::new(BENCH_IN_FLIGHT_MAX));
        for (index, arrival) in self.workload.arrivals.iter().enumerate() {
            tokio::time::sleep_until(self.began + arrival.at).await;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                driven.unsent += 1;
                continue;
            };
            let driver = Arc::clone(&self);
            under_way.spawn(async move {
                let asked = driver.ask(index, driver.workload.arrivals[index].at).await;
                drop(place);
                asked
            });
            while let Some(asked) = under_way.try_join_next() {
                driven.asked.extend(asked);
            }
        }
        while let Some(asked) = under_way.join_next().await {
            driven.asked.extend(asked);
        }
        driven
    }

    /// Each tenant on its own.
    async fn closed_loop(self: Arc<Self>) -> Driven {
        let (mut driven, mut tenants) = (Driven::default(), JoinSet::new());
        for tenant in 0..self.clients.len() {
            let driver = Arc::clone(&self);
            tenants.spawn(async move {
                let mut own = Vec::new();
                for (index, arrival) in driver.workload.arrivals.iter().enumerate() {
                    if arrival.tenant == tenant {
                        let due = driver.began.elapsed() + arrival.at;
                        if driver.until.is_some_and(|until| due >= until) {
                            break;
                        }
                        tokio::time::sleep_until(driver.began + due).await;
                        own.push(driver.ask(index, due).await);
                    }
                }
                own
            });
        }
        while let Some(own) = tenants.join_next().await {
            driven.asked.extend(own.unwrap_or_default());
        }
        driven
    }

    /// Asks one, which is due at this time after the beginning.
    async fn ask(&self, index: usize, due: Duration) -> Asked {
        let arrival = &self.workload.arrivals[index];
        let body = self.prompts.body(index, arrival);
        let sent = self.began.elapsed();
        let client = self.clients[arrival.tenant].as_ref().expect("who asks has somebody to ask");
        let result = answer(client, &body).await.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        Asked { index, sent, late: sent.saturating_sub(due), ended: self.began.elapsed(), result }
    }
}

/// Asks, and reads the answer to its end.
///
/// # Errors
/// [`ClientError`].
pub(in crate::cli) async fn answer(client: &Client, body: &Value) -> Result<Answered, ClientError> {
    let answer = ask_for(client, ("/v1/completions", body), |_| Ok(())).await?;
    let mut digest = DefaultHasher::new();
    answer.text.hash(&mut digest);
    // An answer of control tokens alone shows nothing before its end.
    let first = answer.first_token.unwrap_or(answer.wall);
    Ok(Answered { first, digest: digest.finish(), receipt: answer.receipt()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_as_many_tokens_as_are_said_and_repeat() {
        let prompts = Prompts { models: vec![("a".into(), vec![5, 6, 7]), ("b".into(), vec![9])], seed: 1 };
        let arrival = |model| Arrival { at: Duration::ZERO, tenant: 0, model, prompt_tokens: 20, completion_tokens: 3 };
        let body = prompts.body(4, &arrival(0));
        assert_eq!(body["prompt"].as_array().unwrap().len(), 20);
        assert_eq!((&body["model"], &body["max_tokens"], &body["ignore_eos"]), (&json!("a"), &json!(3), &json!(true)));
        assert_eq!(body, prompts.body(4, &arrival(0)));
        assert_ne!(body, prompts.body(5, &arrival(0)), "no two prompts are alike");
        assert_eq!(prompts.body(0, &arrival(1))["prompt"], json!(vec![9; 20]));
    }

    #[tokio::test]
    async fn a_request_that_nobody_answers_is_a_failure_that_says_why() {
        // Bound, and given back at once: nobody listens there now.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        drop(listener);
        for pacing in [Pacing::OpenLoop, Pacing::ClosedLoop] {
            let arrival =
                |tenant| Arrival { at: Duration::ZERO, tenant, model: 0, prompt_tokens: 1, completion_tokens: 1 };
            let workload = Workload { pacing, arrivals: vec![arrival(0), arrival(1), arrival(0)] };
            let driver = Driver {
                workload: Arc::new(workload),
                prompts: Arc::new(Prompts { models: vec![("a".into(), vec![1])], seed: 0 }),
                clients: vec![Some(client.clone()), Some(client.clone()), None],
                began: Instant::now(),
                until: None,
            };
            let driven = driver.drive().await;
            let indices: Vec<usize> = driven.asked.iter().map(|asked| asked.index).collect();
            assert_eq!((indices, driven.unsent), (vec![0, 1, 2], 0), "{pacing:?}");
            assert!(driven.asked.iter().all(|asked| asked.result.as_ref().is_err_and(|why| why.contains("no server"))));
        }
    }
}
