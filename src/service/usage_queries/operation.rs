//! The operations that start a query, and their words: the vendor's, in its spelling.

use serde::{Deserialize, Serialize};

use super::rows::{Bucket, Column, Metric};
use crate::domain::api_usage::HttpMethod;

/// What started a query. The spelling of the names is part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// StartOrganizationQuery.
    OrganizationQuery,
    /// StartClientQuery.
    ClientQuery,
    /// StartClientSummary.
    ClientSummary,
    /// StartSimpleSearch.
    SimpleSearch,
    /// CreateOrganizationAggregatesJob.
    OrganizationJob,
    /// CreateClientAggregatesJob.
    ClientJob,
}

/// What rows can be told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// A column.
    Column(Column),
    /// The organization, which is the same in all rows.
    Organization,
    /// The date.
    Date,
}

/// A word, and what it means.
type Words<T> = &'static [(&'static str, T)];

/// As `granularity`.
pub(super) const GRANULARITIES: Words<Bucket> =
    &[("Day", Bucket::Day), ("Week", Bucket::Week), ("Month", Bucket::Month)];

const METRICS: Words<Metric> = &[
    ("Requests", Metric::Requests),
    ("Status200", Metric::Status200),
    ("Status300", Metric::Status300),
    ("Status400", Metric::Status400),
    ("Status429", Metric::Status429),
    ("Status500", Metric::Status500),
];

const SEARCH_METRICS: Words<Metric> = &[
    ("Status200", Metric::Status200),
    ("Status300", Metric::Status300),
    ("Status400", Metric::Status400),
    ("Status500", Metric::Status500),
    ("Status429", Metric::Status429),
];

impl Operation {
    /// Its method in the proto.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::OrganizationQuery => "StartOrganizationQuery",
            Self::ClientQuery => "StartClientQuery",
            Self::ClientSummary => "StartClientSummary",
            Self::SimpleSearch => "StartSimpleSearch",
            Self::OrganizationJob => "CreateOrganizationAggregatesJob",
            Self::ClientJob => "CreateClientAggregatesJob",
        }
    }

    /// Whether it asks for a job, whose rules and words are newer.
    pub(super) const fn is_job(self) -> bool {
        matches!(self, Self::OrganizationJob | Self::ClientJob)
    }

    /// What counts can be asked for.
    pub(super) const fn metrics(self) -> Words<Metric> {
        match self {
            Self::SimpleSearch => SEARCH_METRICS,
            _ => METRICS,
        }
    }

    /// What rows can be grouped by. The older operations spell the client with a large A.
    pub(super) const fn groups(self) -> Words<Group> {
        match self {
            Self::OrganizationQuery => &[
                ("OAuthClientId", Group::Column(Column::ClientId)),
                ("OrganizationId", Group::Organization),
                ("UserId", Group::Column(Column::UserId)),
                ("TemplateUri", Group::Column(Column::TemplateUri)),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
            ],
            Self::ClientQuery => &[
                ("OAuthClientId", Group::Column(Column::ClientId)),
                ("OrganizationId", Group::Organization),
                ("TemplateUri", Group::Column(Column::TemplateUri)),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
            ],
            Self::ClientSummary => &[
                ("TemplateUri", Group::Column(Column::TemplateUri)),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
            ],
            // These stand among the metrics there.
            Self::SimpleSearch => &[
                ("Date", Group::Date),
                ("ClientName", Group::Column(Column::ClientName)),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
                ("TemplateUri", Group::Column(Column::TemplateUri)),
            ],
            Self::OrganizationJob => &[
                ("OauthClientName", Group::Column(Column::ClientName)),
                ("OauthClientId", Group::Column(Column::ClientId)),
                ("UserId", Group::Column(Column::UserId)),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
                ("TemplateUri", Group::Column(Column::TemplateUri)),
                ("Platform", Group::Column(Column::Platform)),
            ],
            Self::ClientJob => &[
                ("OrganizationId", Group::Organization),
                ("HttpMethod", Group::Column(Column::HttpMethod)),
                ("TemplateUri", Group::Column(Column::TemplateUri)),
                ("Platform", Group::Column(Column::Platform)),
            ],
        }
    }

    /// Which methods can be asked for.
    pub(super) const fn http_methods(self) -> &'static [HttpMethod] {
        match self {
            Self::OrganizationJob | Self::ClientJob => &[
                HttpMethod::Get,
                HttpMethod::Post,
                HttpMethod::Put,
                HttpMethod::Patch,
                HttpMethod::Delete,
                HttpMethod::Head,
            ],
            _ => HttpMethod::ALL,
        }
    }
}
