//! Which models are in memory, and what changes that.

use axum::http::StatusCode;

use super::form::{
    Form, Member, anything, asked, at_times, count, either, flag, list, maybe, must, named, number, open, or_null,
    saying, text, text_like, told, whole, word,
};
use super::generation::{keep_alive, model};
use super::operation::{Operation, Tag};
use crate::limits::MEMORY_BUDGET_BYTES_MIN;

/// `GET /models`.
pub(in crate::http) fn states() -> Operation {
    Operation::new("listModelStates", Tag::Models, "Every model with its state, the memory, and the latest evictions.")
        .answers(pool())
}

/// `GET /models/sse`.
pub(in crate::http) fn events() -> Operation {
    Operation::new("followModels", Tag::Models, "Every change of a model's state as it happens.")
        .answers_events(event())
        .fails(&[StatusCode::SERVICE_UNAVAILABLE])
}

/// `POST /models/load`.
pub(in crate::http) fn load() -> Operation {
    let members = [model(), keep_alive(), maybe("stream", flag("Whether its progress is told."))];
    changes("loadModel", "Brings a model into memory.", asked("", members)).answers(brought()).answers_events(event())
}

/// `POST /models/unload`.
pub(in crate::http) fn unload() -> Operation {
    let outcome = word("What becomes of it.", &["evicting", "when_free", "not_loaded"]);
    let form =
        told("", [success(), model_named(), must("outcome", outcome), at_times("users", count("Who holds it."))]);
    changes("unloadModel", "Lets a model go.", asked("", [model()])).answers(form)
}

/// `POST /models/pin`.
pub(in crate::http) fn pin() -> Operation {
    changes("pinModel", "Brings a model into memory, and keeps it there.", asked("", [model()])).answers(brought())
}

/// `POST /models/unpin`.
pub(in crate::http) fn unpin() -> Operation {
    let outcome = word("", &["unpinned", "not_pinned"]);
    changes("unpinModel", "Keeps a model no longer than others.", asked("", [model()]))
        .answers(told("", [success(), model_named(), must("outcome", outcome)]))
}

/// `POST /models/budget`.
pub(in crate::http) fn budget() -> Operation {
    let about = "Bytes, or a size such as `2GiB`; never more than there is.";
    let least = i64::try_from(MEMORY_BUDGET_BYTES_MIN).expect("limits are small");
    let size = either(
        about,
        [
            saying("maximum", u64::MAX.into(), whole("", least..=i64::MAX)),
            text_like("", r"^[1-9][0-9]{0,5}(\.[0-9]{0,9})?\s?([mM][iI][bB]|[gGtT]([iI]?[bB])?)$"),
        ],
    );
    let memory = told("", [must("limit_bytes", count("What holds now."))]);
    Operation::new("setMemoryBudget", Tag::Models, "Sets the memory that all models share.")
        .takes(asked("", [must("memory_budget", size)]))
        .fails(&[StatusCode::CONFLICT])
        .answers(told("", [success(), must("memory", memory)]))
}

fn changes(id: &'static str, summary: &'static str, form: Form) -> Operation {
    Operation::new(id, Tag::Models, summary).takes(form).of_a_model().fails(&[StatusCode::CONFLICT])
}

fn success() -> Member {
    must("success", flag(""))
}

fn model_named() -> Member {
    must("model", text("Its true name."))
}

fn brought() -> Form {
    told(
        "",
        [
            success(),
            must("was_loaded", flag("Whether it was in memory before.")),
            model_named(),
            or_null("state", named("ModelInPool")),
        ],
    )
}

fn event() -> Form {
    let kinds = ["model_status", "status_change", "memory_freed", "missed"];
    told(
        "An event.",
        [
            at_times("model", text("")),
            must("event", word("", &kinds)),
            at_times("device", text("")),
            must("data", event_data()),
        ],
    )
}

fn event_data() -> Form {
    let mut members = vec![
        at_times("status", status_word()),
        at_times("state", text("In words of ours.")),
        at_times("progress", progress()),
        at_times("pinned", flag("")),
        at_times("gives_way", flag("Whether it is to go as soon as nobody holds it.")),
        at_times("source", load_source()),
        maybe("break_even", break_even()),
        maybe("for_model", text("For which model it goes.")),
        maybe("expires_in_seconds", number("")),
    ];
    members.extend(["cause", "reason", "error"].map(|name| at_times(name, text("Why."))));
    members.extend(["weights_bytes", "waiting_requests", "events"].map(|name| at_times(name, count(""))));
    let spans = ["waited_seconds", "load_seconds", "idle_seconds", "quarantined_for_seconds"];
    members.extend(spans.map(|name| at_times(name, number(""))));
    open("What is told of it.", members)
}

fn status_word() -> Form {
    word("", &["loaded", "loading", "unloading", "unloaded"])
}

fn memory() -> Vec<Member> {
    ["limit_bytes", "used_bytes", "weights_bytes", "pinned_bytes"].map(|name| must(name, count(""))).into()
}

fn pool() -> Form {
    let mut whole = memory();
    let pages = ["bytes", "unused_bytes", "pages"].map(|name| must(name, count("")));
    let headers = ["count", "bytes"].map(|name| must(name, count("")));
    let answers = ["answers", "bytes"].map(|name| must(name, count("")));
    whole.extend([
        must("prefix_cache", told("Pages of keys and values.", pages)),
        must("headers", told("Headers, tokenizers and templates.", headers)),
        must("response_cache", told("", answers)),
        must("waiting_requests", count("")),
    ]);
    let device = told(
        "",
        [
            must("id", text("")),
            must("kind", text("")),
            must("memory", open("", memory())),
            must("waiting_requests", count("For memory.")),
            must("queued_requests", count("For a turn.")),
            must("backlog_seconds", number("Predicted.")),
        ],
    );
    let eviction = told(
        "",
        [
            must("device", text("")),
            must("model", text("")),
            must("bytes", count("")),
            must("cause", text("Why.")),
            or_null("for_model", text("For which model.")),
            must("idle_seconds", number("")),
            must("seconds_ago", number("")),
        ],
    );
    told(
        "The pool, as the asker may see it.",
        [
            must("object", word("", &["list"])),
            must("data", list("By name.", named("ModelInPool"))),
            must("models_left_out", count("")),
            must("memory", open("Of all devices.", whole)),
            must("devices", list("In the order of the configuration.", device)),
            must("evictions", list("The latest ones, the oldest first.", eviction)),
        ],
    )
}

fn progress() -> Form {
    told(
        "How far a load is.",
        [
            must("stages", list("", text(""))),
            must("current", text("")),
            must("value", number("A share of this stage.")),
            must("done_bytes", count("")),
            must("total_bytes", count("")),
        ],
    )
}

fn load_source() -> Form {
    let about = "Where a load's bytes came from.";
    told(about, [must("label", text("")), or_null("cached_bytes", count("")), or_null("major_faults", count(""))])
}

fn break_even() -> Form {
    let figures =
        ["time_out_seconds", "break_even_seconds", "reload_seconds", "reload_cost", "holding_cost_per_second"];
    let mut members: Vec<Member> = figures.map(|name| or_null(name, number(""))).into();
    members.push(must("gaps", anything("What its time was chosen by.")));
    open("Why it stays for so long, where that is automatic.", members)
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    let status = told(
        "",
        [must("value", status_word()), at_times("state", text("In words of ours.")), maybe("progress", progress())],
    );
    let on_device = told(
        "",
        [must("id", text("")), must("state", text("")), must("weights_bytes", count("")), must("leases", count(""))],
    );
    let mut members = vec![
        must("id", text("")),
        must("object", word("", &["model"])),
        must("status", status),
        must("size_bytes", count("Of its files.")),
        must("kv_precision", text("What its keys and values are kept as.")),
        must("devices", list("Where there is anything of it.", on_device)),
    ];
    members.extend([
        at_times("device", text("Where there is most of it.")),
        at_times("weights_bytes", count("")),
        at_times("pinned", flag("")),
        at_times("paged", flag("Whether it is read from its file as it is used.")),
        maybe("gives_way_for", text("Why it is to go as soon as nobody holds it.")),
        at_times("leases", count("Requests that hold it.")),
        at_times("waiting_requests", count("")),
        maybe("idle_seconds", number("")),
        maybe("expires_in_seconds", number("")),
        maybe("break_even", break_even()),
        at_times("loads", count("")),
        maybe("last_load_seconds", number("")),
        maybe("last_load_source", load_source()),
        maybe("quarantined_for_seconds", number("")),
    ]);
    vec![("ModelInPool", open("A model and where it is.", members))]
}
