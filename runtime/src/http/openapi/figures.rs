//! What was used, saved and paid.

use axum::http::StatusCode;
use ledger::{UsageBucket, UsageRecord};
use meter::savings::{SavingsReport, TenantReport};
use utoipa::openapi::ComponentsBuilder;

use super::form::{
    Form, anything, count, either, flag, list, list_of, must, named, null, number, open, or_null, text, text_like,
    told, whole, whole_of_63_bits, word,
};
use super::operation::{Operation, Tag};
use super::shared::with;
use crate::http::energy::Energy;
use crate::limits::QUERY_PARAMETERS_MAX;

/// When a report begins.
fn since() -> Form {
    // As far as 64 bits hold nanoseconds.
    let pattern = concat!(
        r"^([+-]?[0-9]{1,15}|[0-9]{1,9}\.[0-9]{0,9}|[0-9]{1,5}(\.[0-9]{0,9})?d",
        r"|([0-9]{1,6}(\.[0-9]{0,9})?(h|m|s|ms|us|µs|ns)){1,4})$"
    );
    text_like("A second since 1970, or how long ago: `24h`, `30d`.", pattern)
}

/// `GET /v1/usage`.
pub(in crate::http) fn usage() -> Operation {
    let form =
        told("", [must("object", word("", &["list"])), must("data", list("Oldest first.", named("UsageBucket")))]);
    Operation::new("getUsage", Tag::Figures, "Sums by hour or day, of each tenant, model and key.")
        .asks("bucket_width", word("A day unless told.", &["1h", "1d"]))
        .asks("since", since())
        .answers(form)
}

/// `GET /v1/usage/{id}`.
pub(in crate::http) fn usage_of_request() -> Operation {
    Operation::new("getUsageOfRequest", Tag::Figures, "A request's receipt, after the fact.")
        .at("id", text("The answer's id."))
        .fails(&[StatusCode::NOT_FOUND])
        .answers(named("UsageRecord"))
}

/// `GET /v1/energy`.
pub(in crate::http) fn energy() -> Operation {
    Operation::new("getEnergy", Tag::Figures, "Where energy is from, and who carried it.").answers(named("Energy"))
}

/// `GET /v1/savings`.
pub(in crate::http) fn savings() -> Operation {
    Operation::new("getSavings", Tag::Figures, "What ephemeral serving saved, or lost.")
        .asks("baseline", word("This comparison alone.", &["shared", "dedicated"]))
        .asks("since", since())
        .answers(either("Of everyone, or of the asking tenant alone.", [named("SavingsReport"), named("TenantReport")]))
}

/// `GET /v1/organization/usage/completions`.
pub(in crate::http) fn usage_of_organization() -> Operation {
    let mut result = vec![must("object", word("", &["organization.usage.completions.result"]))];
    for name in [
        "input_tokens",
        "output_tokens",
        "input_cached_tokens",
        "input_audio_tokens",
        "output_audio_tokens",
        "num_model_requests",
    ] {
        result.push(must(name, count("")));
    }
    result.extend(
        ["project_id", "model", "api_key_id"].map(|name| or_null(name, text("Where it is told apart by that."))),
    );
    result.extend(["user_id", "batch", "service_tier"].map(|name| must(name, null())));
    let (width, most) = (word("A day unless told.", &["1h", "1d"]), 168);
    paged("getOrganizationUsage", "OpenAI's report of use; tenants are projects.", (width, most))
        .asks("models", words())
        .asks("api_key_ids", words())
        .asks("group_by", list("What is told apart.", word("", &["project_id", "model", "api_key_id"])))
        .answers(page(open("", result)))
}

/// `GET /v1/organization/costs`.
pub(in crate::http) fn costs() -> Operation {
    let amount = told("", [or_null("value", number("Null where something has no price.")), must("currency", text(""))]);
    let result = told(
        "",
        [
            must("object", word("", &["organization.costs.result"])),
            must("amount", amount),
            or_null("line_item", text("")),
            or_null("project_id", text("")),
        ],
    );
    paged("getOrganizationCosts", "OpenAI's report of costs.", (word("", &["1d"]), 180))
        .asks("group_by", list("What is told apart.", word("", &["project_id", "line_item"])))
        .answers(page(result))
}

fn words() -> Form {
    list_of("These alone.", text(""), 0..=QUERY_PARAMETERS_MAX)
}

fn paged(id: &'static str, summary: &'static str, (width, limit_max): (Form, i64)) -> Operation {
    Operation::new(id, Tag::Figures, summary)
        .needs("start_time", whole_of_63_bits("A second since 1970."))
        .asks("end_time", whole_of_63_bits("A second since 1970, after the first."))
        .asks("bucket_width", width)
        .asks("limit", whole("Buckets of a page; fewer at most for days.", 1..=limit_max))
        .asks("page", text_like("The `next_page` of the one before.", "^page_-?[0-9]+$"))
        .asks("project_ids", words())
}

fn page(result: Form) -> Form {
    let bucket = told(
        "",
        [
            must("object", word("", &["bucket"])),
            must("start_time", whole("", i64::MIN..=i64::MAX)),
            must("end_time", whole("", i64::MIN..=i64::MAX)),
            must("results", list("", result)),
        ],
    );
    told(
        "",
        [
            must("object", word("", &["page"])),
            must("data", list("", bucket)),
            must("has_more", flag("")),
            or_null("next_page", text("")),
        ],
    )
}

/// `GET /v1/live`.
pub(in crate::http) fn live() -> Operation {
    let kinds = ["hello", "pool", "receipts", "tenants", "savings", "missed", "unavailable"];
    let event = told("", [must("event", word("", &kinds)), must("data", anything("What is told of it."))]);
    Operation::new("follow", Tag::Figures, "What the dashboard shows, whole at first and then as it changes.")
        .answers_events(event)
}

pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let components = with::<UsageBucket>(with::<UsageRecord>(components));
    with::<Energy>(with::<TenantReport>(with::<SavingsReport>(components)))
}
