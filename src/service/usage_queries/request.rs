//! What callers ask for, and the query that it makes.

use jiff::Timestamp;

use super::{
    Operation, interval,
    operation::{GRANULARITIES, Group},
    query::{Query, Shape},
    rows::{Bucket, Column, Direction, Metric, RowPlan, SortField},
    words::{word, words},
};
use crate::{
    domain::{
        api_usage::{ApiFilter, HttpMethod},
        asset_usage::DayRange,
        id::{ClientId, OrganizationId, PlatformName, TemplateUri, UserId},
        limits::{FILTER_VALUES_MAX, NAME_CHARS_MAX},
    },
    service::{
        FieldViolation, ServiceError,
        arguments::{check_length, ids},
    },
};

/// Most rows of a query that is no job: the vendor's rule for searches; of the others, which it answers at once, it
/// names none.
const QUERY_ROWS_MAX: u64 = 20_000;

/// Most rows of a job.
const JOB_ROWS_MAX: u64 = 5_000_000;

/// What the operations take. What an operation does not have is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRequest {
    /// ISO 8601.
    pub interval: String,
    /// How many days before today, of a summary.
    pub days: String,
    /// A word, or empty.
    pub granularity: String,
    /// Words.
    pub metrics: Vec<String>,
    /// Words.
    pub group_by: Vec<String>,
    /// Fields and `Asc` or `Desc`.
    pub sort_by: Vec<(String, String)>,
    /// Names of clients.
    pub client_names: Vec<String>,
    /// Ids of clients.
    pub client_ids: Vec<String>,
    /// Users.
    pub user_ids: Vec<String>,
    /// Methods.
    pub http_methods: Vec<String>,
    /// Templates.
    pub template_uris: Vec<String>,
    /// Platforms.
    pub platforms: Vec<String>,
    /// Organizations.
    pub organization_ids: Vec<String>,
}

/// Makes the query; every broken rule is named.
pub(super) fn read(
    operation: Operation,
    organization: &OrganizationId,
    client: Option<&ClientId>,
    request: &QueryRequest,
    now: Timestamp,
) -> Result<(Query, Shape), ServiceError> {
    let mut violations = Vec::new();
    let days = match operation {
        Operation::ClientSummary => interval::of_summary(&request.days, now, &mut violations),
        _ if operation.is_job() => interval::of_job(&request.interval, now, &mut violations),
        _ => interval::of_query(&request.interval, &mut violations),
    };
    let shape = shape(operation, request, &mut violations);
    let filter = filter(operation, client, request, &mut violations);
    let client_names = client_names(&request.client_names, &mut violations);
    let is_elsewhere = elsewhere(organization, &request.organization_ids, &mut violations);
    let (Some(days), true) = (days, violations.is_empty()) else {
        return Err(ServiceError::InvalidArgument(violations));
    };
    // There is usage in the caller's organization alone.
    let days = if is_elsewhere { DayRange { start: days.start, end: days.start } } else { days };
    Ok((Query { days, filter, client_names }, shape))
}

fn shape(
    operation: Operation,
    request: &QueryRequest,
    violations: &mut Vec<FieldViolation>,
) -> Shape {
    let (groups, metrics) = match operation {
        Operation::SimpleSearch => search_columns(&request.metrics, violations),
        _ => {
            let metrics = words("metrics", &request.metrics, operation.metrics(), violations);
            (groups(operation, &request.group_by, violations), metrics)
        }
    };
    let metrics = if metrics.is_empty() && request.metrics.is_empty() {
        operation.metrics().iter().map(|(_, metric)| *metric).collect()
    } else {
        metrics
    };
    let bucket = match (operation, request.granularity.as_str()) {
        (Operation::SimpleSearch, _) if groups.contains(&Group::Date) => Bucket::Day,
        (Operation::OrganizationJob | Operation::ClientJob, "") => Bucket::Day,
        (_, "") => Bucket::Whole,
        (_, text) => word("granularity", text, GRANULARITIES, violations).unwrap_or(Bucket::Day),
    };
    let mut columns: Vec<Column> = Vec::new();
    for group in &groups {
        if let Group::Column(column) = group {
            columns.push(*column);
        }
    }
    // Whoever gets a client's id gets its name as well.
    if columns.contains(&Column::ClientId) && !columns.contains(&Column::ClientName) {
        let id = columns.iter().position(|column| *column == Column::ClientId).unwrap_or_default();
        columns.insert(id + 1, Column::ClientName);
    }
    let sort = sort(operation, &groups, &metrics, &request.sort_by, violations);
    let rows_max = if operation.is_job() { JOB_ROWS_MAX } else { QUERY_ROWS_MAX };
    Shape {
        plan: RowPlan { bucket, columns, sort, rows_max },
        metrics,
        organization: groups.contains(&Group::Organization),
    }
}

/// What rows are grouped by; jobs that say nothing get everything.
fn groups(
    operation: Operation,
    texts: &[String],
    violations: &mut Vec<FieldViolation>,
) -> Vec<Group> {
    let all = operation.groups();
    if texts.is_empty() && (operation.is_job() || operation == Operation::ClientSummary) {
        return all.iter().map(|(_, group)| *group).collect();
    }
    words("group_by", texts, all, violations)
}

/// A search has one list of words for what rows have.
fn search_columns(
    texts: &[String],
    violations: &mut Vec<FieldViolation>,
) -> (Vec<Group>, Vec<Metric>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Group(Group),
        Metric(Metric),
    }
    let search = Operation::SimpleSearch;
    let groups = search.groups().iter().map(|(word, group)| (*word, Word::Group(*group)));
    let metrics = search.metrics().iter().map(|(word, metric)| (*word, Word::Metric(*metric)));
    let vocabulary: Vec<(&str, Word)> = groups.chain(metrics).collect();
    let chosen = if texts.is_empty() {
        vocabulary.iter().map(|(_, word)| *word).collect()
    } else {
        words("metrics", texts, &vocabulary, violations)
    };
    let mut found = (Vec::new(), Vec::new());
    for word in chosen {
        match word {
            Word::Group(group) => found.0.push(group),
            Word::Metric(metric) => found.1.push(metric),
        }
    }
    found
}

/// What rows are in the order of. The vendor does not say what fields are called, so the words of grouping and metrics
/// are read in any case, and the names that rows have them under.
fn sort(
    operation: Operation,
    groups: &[Group],
    wanted: &[Metric],
    given: &[(String, String)],
    violations: &mut Vec<FieldViolation>,
) -> Vec<(SortField, Direction)> {
    // The organization is the same in all rows, so it orders nothing.
    let mut fields: Vec<(&str, Option<SortField>)> = vec![("Date", Some(SortField::Date))];
    for (word, group) in operation.groups() {
        match group {
            _ if !groups.contains(group) => {}
            Group::Column(column) => fields.push((*word, Some(SortField::Column(*column)))),
            Group::Organization => fields.push((*word, None)),
            Group::Date => {}
        }
    }
    for (word, metric) in operation.metrics() {
        if wanted.contains(metric) {
            fields.push((*word, Some(SortField::Metric(*metric))));
        }
    }
    if wanted.contains(&Metric::Requests) {
        fields.push(("RequestCount", Some(SortField::Metric(Metric::Requests))));
    }
    let (mut sort, mut named) = (Vec::new(), Vec::new());
    if given.len() > fields.len() {
        let description = format!("has {} fields, there are {}", given.len(), fields.len());
        violations.push(FieldViolation::new("sort_by", description));
        return sort;
    }
    for (place, (name, order)) in given.iter().enumerate() {
        let spelled = fields.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
        let name = spelled.map_or(name.as_str(), |(word, _)| *word);
        let field = word(&format!("sort_by[{place}].field_name"), name, &fields, violations);
        let direction = match order.as_str() {
            "" => Some(Direction::Ascending),
            order => word(
                &format!("sort_by[{place}].order"),
                order,
                &[("Asc", Direction::Ascending), ("Desc", Direction::Descending)],
                violations,
            ),
        };
        if let (Some(field), Some(direction)) = (field, direction) {
            if named.contains(&field) {
                let field = format!("sort_by[{place}].field_name");
                violations.push(FieldViolation::new(field, "is given twice"));
            }
            named.push(field);
            sort.extend(field.map(|field| (field, direction)));
        }
    }
    sort
}

fn filter(
    operation: Operation,
    client: Option<&ClientId>,
    request: &QueryRequest,
    violations: &mut Vec<FieldViolation>,
) -> ApiFilter {
    let clients =
        ids("oauth_client_ids".to_owned(), &request.client_ids, ClientId::new, violations);
    let methods: Vec<(&str, HttpMethod)> =
        operation.http_methods().iter().map(|method| (method.as_str(), *method)).collect();
    ApiFilter {
        clients: client.map_or(clients, |client| vec![client.clone()]),
        users: ids("user_ids".to_owned(), &request.user_ids, UserId::new, violations),
        templates: ids(
            "template_uris".to_owned(),
            &request.template_uris,
            TemplateUri::new,
            violations,
        ),
        methods: words("http_methods", &request.http_methods, &methods, violations),
        platforms: ids("platforms".to_owned(), &request.platforms, PlatformName::new, violations),
    }
}

fn client_names(names: &[String], violations: &mut Vec<FieldViolation>) -> Vec<String> {
    let field = "oauth_client_names";
    if names.len() > FILTER_VALUES_MAX {
        let description =
            format!("has {} values, at most {FILTER_VALUES_MAX} are allowed", names.len());
        violations.push(FieldViolation::new(field, description));
    }
    for (place, name) in names.iter().enumerate().take(FILTER_VALUES_MAX) {
        let field = || format!("{field}[{place}]");
        check_length(violations, field, name, NAME_CHARS_MAX);
        if name.is_empty() {
            violations.push(FieldViolation::new(field(), "must not be empty"));
        }
    }
    names.to_vec()
}

/// Whether only usage of other organizations is asked for.
fn elsewhere(
    organization: &OrganizationId,
    wanted: &[String],
    violations: &mut Vec<FieldViolation>,
) -> bool {
    let wanted = ids("organization_ids".to_owned(), wanted, OrganizationId::new, violations);
    !wanted.is_empty() && !wanted.contains(organization)
}
