//! Documents of queries, and what callers ask for.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;

use super::{
    Operation, QueryRequest,
    computation::Computation,
    job::{Failure, Job, JobState, Progress, StoredJob},
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
    store::document::{Document, DocumentChange},
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
    document_of(job.document(progress).expect("texts and numbers"))
}

fn document_of(change: DocumentChange) -> Document {
    let body = change.body.unwrap_or_default();
    Document { organization: change.organization, name: change.name, body }
}

/// A document tells of the job that it was written of.
pub(in crate::service) fn job(choices: &mut Choices<'_>) {
    let state = match choices.pick(6) {
        0 => JobState::Queued,
        1 => JobState::Succeeded { rows: choices.number() },
        2 => JobState::Failed(Failure::OfRequest(made_up::name(choices))),
        3 => JobState::Failed(Failure::OfServer),
        4 => JobState::Failed(Failure::Unavailable(made_up::name(choices))),
        _ => JobState::Cancelled,
    };
    let created = made_up::instant(choices);
    // Whatever clocks say, nothing ends before it was started.
    let finished = (state != JobState::Queued).then(|| made_up::instant(choices).max(created));
    let progress = Progress { state, finished };
    let plan = plan(choices);
    let shape = Shape { plan, metrics: Vec::new(), organization: choices.once_in(2) };
    let id = made_up::client(choices).to_string();
    let result = if choices.once_in(2) { made_up::client(choices).to_string() } else { id.clone() };
    let started_by = choices.once_in(2).then(|| made_up::client(choices));
    let computation =
        Computation::new(result, organization(), started_by.clone(), None, created, shape);
    computation.bytes_written.store(choices.number(), Ordering::Relaxed);
    let about = choices.once_in(2).then(|| made_up::client(choices));
    let operation = choices.of(&OPERATIONS);
    let made = Job::new(id, operation, about, started_by, created, Arc::new(computation));
    let stored = written(&made, &progress);
    let StoredJob { job: read, is_removed } =
        StoredJob::from_document(stored.clone()).expect("a job");
    assert_eq!((read.progress(), is_removed), (progress, false));
    assert_eq!((&read.client, &read.started_by), (&made.client, &made.started_by));
    assert_eq!((read.operation, read.created), (made.operation, made.created));
    assert_eq!(read.computation.id, made.computation.id);
    assert_eq!(read.computation.shape, made.computation.shape);
    let removed = document_of(made.removed_document(created).expect("texts and numbers"));
    assert!(StoredJob::from_document(removed).expect("a job").is_removed);

    let body =
        if choices.once_in(2) { choices.rest().to_vec() } else { damaged(stored.body, choices) };
    if let Ok(StoredJob { job, .. }) =
        StoredJob::from_document(Document { body, ..stored_name(&made) })
    {
        let again = written(&job, &job.progress());
        let StoredJob { job: read, .. } = StoredJob::from_document(again.clone()).expect("a job");
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
