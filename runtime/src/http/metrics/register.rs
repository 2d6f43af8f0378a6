//! Which figures there are, under which names, and what each is: Prometheus's help texts.

use prometheus_client::registry::Unit;

use super::Metrics;

impl Metrics {
    pub(super) fn register_requests(&mut self) {
        let registry = &mut self.registry;
        registry.register("tokens", "Tokens of settled requests", self.tokens.clone());
        registry.register("requests", "Settled requests", self.requests.clone());
        let text = "Requests that were not let in or not let begin, by why";
        registry.register("refused_requests", text, self.refusals.clone());
        let text = "How often the memory of requests that have ended was taken for others";
        registry.register("preemptions", text, self.preemptions.clone());
        self.accounts.register(registry);
        self.energy.register(registry);
        let text = "KiB · ms of memory and nanojoules that were measured and that no account carries: must stay 0";
        registry.register("ledger_imbalance", text, self.imbalance.clone());
        let text = "How far the latest fit of a model's step costs is off, where its steps are shared by one";
        registry.register("attribution_fit_error_ratio", text, self.fit_error.clone());
        let text = "Requests that wait for their model's load";
        registry.register("loading_requests", text, self.loading.clone());
        registry.register("queued_requests", "Requests that wait for their first step", self.queued.clone());
    }

    pub(super) fn register_pool(&mut self) {
        let registry = &mut self.registry;
        registry.register("model_loads", "Loads by who wanted them, or failed", self.loads.clone());
        registry.register("model_evictions", "Evictions by their cause", self.evictions.clone());
        let text = "Time inside the loader";
        registry.register_with_unit("model_load_duration", text, Unit::Seconds, self.load_seconds.clone());
        let text = "Weights in the pool";
        registry.register_with_unit("model_resident", text, Unit::Bytes, self.resident.clone());
        registry.register_with_unit("pool_used", "Reserved bytes", Unit::Bytes, self.used.clone());
        registry.register_with_unit("pool_limit", "The budget", Unit::Bytes, self.limit.clone());
        registry.register("pool_waiting_requests", "Requests that wait for a model or for room", self.waiting.clone());
    }

    pub(super) fn register_caches(&mut self) {
        let registry = &mut self.registry;
        let text = "Requests that were answered with a stored answer";
        registry.register("response_cache_hits", text, self.response_hits.clone());
        let text = "Requests whose answer was looked for among the stored ones and not there";
        registry.register("response_cache_misses", text, self.response_misses.clone());
        registry.register("response_cache_answers", "Answers that are stored", self.responses.clone());
        let text = "Memory of the stored answers, estimated";
        registry.register_with_unit("response_cache", text, Unit::Bytes, self.response_bytes.clone());
        let text = "Memory of cached keys and values, in use or not";
        registry.register_with_unit("prefix_cache", text, Unit::Bytes, self.prefix_bytes.clone());
        let text = "Sequences whose beginning was looked for, since the start";
        registry.register("prefix_cache_lookups", text, self.prefix_lookups.clone());
        registry.register("prefix_cache_hits", "Pages that were found for them", self.prefix_hits.clone());
        registry.register("prefix_cache_dropped", "Pages dropped for room", self.prefix_dropped.clone());
        registry.register("descriptors", "Headers, tokenizers and templates kept", self.descriptors.clone());
        let text = "Memory of the kept descriptors, estimated";
        registry.register_with_unit("descriptors", text, Unit::Bytes, self.descriptors_bytes.clone());
    }

    pub(super) fn register_devices(&mut self) {
        let registry = &mut self.registry;
        let text = "How far predicted times of routed requests were off, as a share of what they took";
        let unit = Unit::Other("ratio".to_owned());
        registry.register_with_unit("routing_prediction_error", text, unit, self.routing_error.clone());
        registry.register_with_unit("device_used", "Reserved bytes", Unit::Bytes, self.device_used.clone());
        registry.register_with_unit("device_limit", "The budget", Unit::Bytes, self.device_limit.clone());
        let text = "Requests that wait for their first step on the device";
        registry.register("device_queued_requests", text, self.device_queued.clone());
        let text = "Predicted time of what is queued and computed there";
        registry.register_with_unit("device_backlog", text, Unit::Seconds, self.device_backlog.clone());
        let text = "Weights on the device";
        registry.register_with_unit("device_model_resident", text, Unit::Bytes, self.device_resident.clone());
        let text = "Processor time of steps and loads; what the process took beyond it is the runtime's";
        registry.register_with_unit("device_cpu", text, Unit::Seconds, self.device_cpu.clone());
        let text = "Processor time of this process";
        registry.register_with_unit("process_cpu", text, Unit::Seconds, self.process_cpu.clone());
    }

    pub(super) fn register_contexts(&mut self) {
        let registry = &mut self.registry;
        registry.register("contexts", "Published contexts", self.contexts.clone());
        let text = "Files of published contexts";
        registry.register_with_unit("contexts", text, Unit::Bytes, self.contexts_bytes.clone());
        registry.register("contexts_mapped", "Published contexts that are mapped", self.contexts_mapped.clone());
        registry.register("context_maps", "How often one was mapped, since the start", self.context_maps.clone());
    }
}
