//! A query as it is kept: what is read, and what its result looks like.

use serde::{Deserialize, Serialize};

use super::rows::{Metric, RowPlan};
use crate::domain::{
    api_usage::ApiFilter,
    asset_usage::{DayRange, UsageDay},
    id::{ClientId, IdError, PlatformName, TemplateUri, UserId},
};

/// Which usage is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// Which days; none if there can be no usage.
    pub(super) days: DayRange,
    /// Which series.
    pub(super) filter: ApiFilter,
    /// Which names of clients; empty for all.
    pub(super) client_names: Vec<String>,
}

/// What rows have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// How they are grouped and ordered.
    pub(super) plan: RowPlan,
    /// Their counts.
    pub(super) metrics: Vec<Metric>,
    /// Whether they name the organization.
    pub(super) organization: bool,
}

/// A [`Query`] on the disk. The names are part of the file format.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    first_day: i64,
    end_day: i64,
    clients: Vec<String>,
    users: Vec<String>,
    templates: Vec<String>,
    methods: Vec<String>,
    platforms: Vec<String>,
    client_names: Vec<String>,
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn parsed<T>(texts: &[String], new: impl Fn(&str) -> Result<T, IdError>) -> Option<Vec<T>> {
    texts.iter().map(|text| new(text).ok()).collect()
}

impl Query {
    /// The query as JSON.
    ///
    /// # Errors
    /// What serde says, which has no reason to say anything.
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let ApiFilter { clients, users, templates, methods, platforms } = &self.filter;
        serde_json::to_vec(&Stored {
            first_day: self.days.start.number(),
            end_day: self.days.end.number(),
            clients: texts(clients),
            users: texts(users),
            templates: texts(templates),
            methods: texts(methods),
            platforms: texts(platforms),
            client_names: self.client_names.clone(),
        })
    }

    /// The query of a JSON text; `None` if it is none.
    pub(super) fn from_json(text: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(text).ok()?;
        let days = DayRange {
            start: UsageDay::from_number(stored.first_day)?,
            end: UsageDay::from_number(stored.end_day)?,
        };
        let filter = ApiFilter {
            clients: parsed(&stored.clients, ClientId::new)?,
            users: parsed(&stored.users, UserId::new)?,
            templates: parsed(&stored.templates, TemplateUri::new)?,
            methods: stored.methods.iter().map(|name| name.parse().ok()).collect::<Option<_>>()?,
            platforms: parsed(&stored.platforms, PlatformName::new)?,
        };
        Some(Self { days, filter, client_names: stored.client_names })
    }
}
