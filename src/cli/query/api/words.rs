//! What can be asked for, in the words of the command line and in those of the wire.

use std::str::FromStr;

use clap::ValueEnum;

use crate::api::pb::meterd::v1::{OrganizationUsage, UsageQuerySortBy};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Granularity {
    #[default]
    Day,
    Week,
    Month,
}

/// What rows can be told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Group {
    /// The client's id
    Client,
    /// The client's name; clients of one name are added up
    ClientName,
    /// On whose behalf; empty for calls on behalf of none
    User,
    /// Which API
    Template,
    /// Its HTTP method
    Method,
    /// Through what; empty for calls that did not say
    Platform,
}

/// What can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Metric {
    /// All calls, whatever was answered
    Requests,
    #[value(name = "2xx")]
    Status200,
    #[value(name = "3xx")]
    Status300,
    /// 429 included
    #[value(name = "4xx")]
    Status400,
    #[value(name = "429")]
    Status429,
    #[value(name = "5xx")]
    Status500,
}

/// What rows can be in the order of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SortField {
    Date,
    Group(Group),
    Metric(Metric),
}

/// One field of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SortBy {
    pub(super) field: SortField,
    descending: bool,
}

impl Granularity {
    pub(super) fn to_wire(self) -> &'static str {
        match self {
            Self::Day => "Day",
            Self::Week => "Week",
            Self::Month => "Month",
        }
    }
}

impl Group {
    pub(super) fn to_wire(self) -> &'static str {
        match self {
            Self::Client => "OauthClientId",
            Self::ClientName => "OauthClientName",
            Self::User => "UserId",
            Self::Template => "TemplateUri",
            Self::Method => "HttpMethod",
            Self::Platform => "Platform",
        }
    }

    /// The name for programs.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Client => "client_id",
            Self::ClientName => "client_name",
            Self::User => "user_id",
            Self::Template => "template_uri",
            Self::Method => "http_method",
            Self::Platform => "platform",
        }
    }

    /// The value in a row.
    pub(super) fn of(self, row: &OrganizationUsage) -> &str {
        let client = row.oauth_client.as_ref();
        match self {
            Self::Client => client.and_then(|client| client.id.as_deref()),
            Self::ClientName => client.and_then(|client| client.name.as_deref()),
            Self::User => row.user.as_ref().map(|user| user.id.as_str()),
            Self::Template => row.template_uri.as_deref(),
            Self::Method => row.http_method.as_deref(),
            Self::Platform => row.platform.as_deref(),
        }
        .unwrap_or_default()
    }
}

impl Metric {
    pub(super) fn to_wire(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::Status200 => "Status200",
            Self::Status300 => "Status300",
            Self::Status400 => "Status400",
            Self::Status429 => "Status429",
            Self::Status500 => "Status500",
        }
    }

    /// The name for programs.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Requests => "request_count",
            Self::Status200 => "status200",
            Self::Status300 => "status300",
            Self::Status400 => "status400",
            Self::Status429 => "status429",
            Self::Status500 => "status500",
        }
    }

    /// The count in a row.
    pub(super) fn of(self, row: &OrganizationUsage) -> u64 {
        let count = match self {
            Self::Requests => row.request_count,
            Self::Status200 => row.status200,
            Self::Status300 => row.status300,
            Self::Status400 => row.status400,
            Self::Status429 => row.status429,
            Self::Status500 => row.status500,
        };
        count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
    }
}

/// What a value is called on the command line, and in tables.
pub(super) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl SortField {
    fn all() -> impl Iterator<Item = Self> {
        let groups = Group::value_variants().iter().map(|group| Self::Group(*group));
        let metrics = Metric::value_variants().iter().map(|metric| Self::Metric(*metric));
        [Self::Date].into_iter().chain(groups).chain(metrics)
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Date => "date".to_owned(),
            Self::Group(group) => name(&group),
            Self::Metric(metric) => name(&metric),
        }
    }
}

impl FromStr for SortBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, order) = text.split_once(':').unwrap_or((text, "asc"));
        let descending = match order {
            "asc" => false,
            "desc" => true,
            _ => return Err(format!("{order:?} is neither asc nor desc")),
        };
        let found = SortField::all().find(|known| known.name() == field);
        let field = found.ok_or_else(|| {
            let known: Vec<String> = SortField::all().map(SortField::name).collect();
            format!("{field:?} is none of {}", known.join(", "))
        })?;
        Ok(Self { field, descending })
    }
}

impl SortBy {
    pub(super) fn to_wire(self) -> UsageQuerySortBy {
        let field_name = match self.field {
            SortField::Date => "Date",
            SortField::Group(group) => group.to_wire(),
            SortField::Metric(metric) => metric.to_wire(),
        };
        let order = if self.descending { "Desc" } else { "Asc" };
        UsageQuerySortBy { field_name: field_name.to_owned(), order: order.to_owned() }
    }
}
