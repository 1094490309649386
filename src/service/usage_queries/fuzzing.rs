//! Documents of queries, and what callers ask for.

use jiff::Timestamp;

use super::{
    Operation, QueryRequest,
    job::{Failure, Job, JobState, Progress},
    query::{Query, Shape},
    request,
    rows::fuzzing::plan,
};
use crate::{
    domain::{
        api_usage::{ApiFilter, HttpMethod},
        asset_usage::DayRange,
        fuzzing::{Choices, damaged, made_up},
        id::{OrganizationId, PlatformName, TemplateUri, UserId},
        limits::{ID_CHARS_MAX, TEMPLATE_URI_CHARS_MAX},
    },
    service::ServiceError,
    store::document::Document,
};

const OPERATIONS: [Operation; 6] = [
    Operation::OrganizationQuery,
    Operation::ClientQuery,
    Operation::ClientSummary,
    Operation::SimpleSearch,
    Operation::OrganizationJob,
    Operation::ClientJob,
];

fn organization() -> OrganizationId {
    OrganizationId::new("o").expect("an identifier")
}

fn written(job: &Job, progress: &Progress) -> Document {
    let change = job.document(progress).expect("texts and numbers");
    let body = change.body.unwrap_or_default();
    Document { organization: change.organization, name: change.name, body }
}

/// A document tells of the job that it was written of.
pub(in crate::service) fn job(choices: &mut Choices<'_>) {
    let state = match choices.pick(5) {
        0 => JobState::Queued,
        1 => JobState::Succeeded { rows: choices.number() },
        2 => JobState::Failed(Failure::OfRequest(made_up::name(choices))),
        3 => JobState::Failed(Failure::OfServer),
        _ => JobState::Cancelled,
    };
    let finished = (state != JobState::Queued).then(|| made_up::instant(choices));
    let progress = Progress { state, finished };
    let plan = plan(choices);
    let shape = Shape { plan, metrics: Vec::new(), organization: choices.once_in(2) };
    let made = Job::new(
        made_up::client(choices).to_string(),
        organization(),
        choices.of(&OPERATIONS),
        choices.once_in(2).then(|| made_up::client(choices)),
        made_up::instant(choices),
        shape,
    );
    let stored = written(&made, &progress);
    let read = Job::from_document(stored.clone()).expect("a job");
    assert_eq!(read.progress(), progress);
    assert_eq!((&read.shape, read.operation), (&made.shape, made.operation));
    assert_eq!((&read.client, read.created), (&made.client, made.created));

    let body =
        if choices.once_in(2) { choices.rest().to_vec() } else { damaged(stored.body, choices) };
    if let Ok(job) = Job::from_document(Document { body, ..stored_name(&made) }) {
        let again = written(&job, &job.progress());
        let read = Job::from_document(again.clone()).expect("a job");
        assert_eq!(written(&read, &read.progress()), again);
    }
}

fn stored_name(job: &Job) -> Document {
    Document { organization: organization(), name: job.id.clone(), body: Vec::new() }
}

/// A query reads back as it was written.
pub(in crate::service) fn query(choices: &mut Choices<'_>) {
    let some = |choices: &mut Choices<'_>| choices.pick(4);
    let filter = ApiFilter {
        clients: (0..some(choices)).map(|_| made_up::client(choices)).collect(),
        users: (0..some(choices))
            .map(|_| made_up::id(choices, ID_CHARS_MAX, UserId::new))
            .collect(),
        templates: (0..some(choices))
            .map(|_| made_up::id(choices, TEMPLATE_URI_CHARS_MAX, TemplateUri::new))
            .collect(),
        methods: (0..some(choices)).map(|_| choices.of(HttpMethod::ALL)).collect(),
        platforms: (0..some(choices))
            .map(|_| made_up::id(choices, ID_CHARS_MAX, PlatformName::new))
            .collect(),
    };
    let query = Query {
        days: DayRange { start: made_up::day(choices), end: made_up::day(choices) },
        filter,
        client_names: (0..some(choices)).map(|_| made_up::name(choices)).collect(),
    };
    let text = query.to_json().expect("texts and numbers");
    assert_eq!(Query::from_json(&text), Some(query));
    let text = if choices.once_in(2) { choices.rest().to_vec() } else { damaged(text, choices) };
    if let Some(query) = Query::from_json(&text) {
        let again = query.to_json().expect("texts and numbers");
        assert_eq!(Query::from_json(&again), Some(query));
    }
}

/// What any operation makes of a request: a query that can be kept, or every rule that is broken.
///
/// # Panics
/// If it is neither.
pub fn read(asked: &QueryRequest, now: Timestamp) {
    let client = made_up::client(&mut Choices::new(b""));
    for operation in OPERATIONS {
        match request::read(operation, &organization(), Some(&client), asked, now) {
            Ok((query, shape)) => {
                let text = query.to_json().expect("texts and numbers");
                assert!(query.days.start <= query.days.end, "{asked:?}");
                assert_eq!(Query::from_json(&text), Some(query));
                let text = serde_json::to_string(&shape).expect("words and numbers");
                assert_eq!(serde_json::from_str::<Shape>(&text).ok(), Some(shape));
            }
            Err(ServiceError::InvalidArgument(violations)) => {
                assert!(violations.iter().all(|violation| !violation.field.is_empty()));
                assert!(!violations.is_empty());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}
