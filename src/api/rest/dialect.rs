//! How services differ on the REST side, as data: one row for a service that speaks a vendor's JSON,
//! none for one of our own.

use http::StatusCode;
use prost_reflect::SerializeOptions;

/// How a service's JSON looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// What becomes of members of a body that the request does not have.
    pub unknown_members: UnknownMembers,
    /// How 64-bit integers are written.
    pub int64: Int64,
    /// How a failure is written.
    pub errors: ErrorShape,
    /// How the paths begin that are the vendor's alone: failures are written so, too, where they lead to no method.
    pub path_prefix: Option<&'static str>,
    /// Error details (full names of messages) whose members also stand at the top level of an error's
    /// body.
    pub hoisted_details: &'static [&'static str],
    /// Method name → HTTP status of its success, where that is not 200.
    pub success: &'static [(&'static str, StatusCode)],
}

/// What becomes of members of a body that the request does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownMembers {
    /// 400, naming the member: a misspelt filter must not silently widen a query.
    Refuse,
    /// Ignored, as the vendors' gateways do. So are unknown names of enum values.
    Ignore,
}

/// How 64-bit integers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int64 {
    /// As strings, which is the ProtoJSON mapping: many readers hold numbers in doubles.
    String,
    /// As numbers.
    Number,
}

/// How a failure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// `google.rpc.Status` as JSON: `code`, `message`, `details`.
    Status,
    /// Genesys' `ErrorBody`: `message`, `code` (a word), `status` (the HTTP status), `contextId` (the
    /// request id), `details` of the fields at fault, by their names in JSON, `errors`.
    ErrorBody,
}

impl Dialect {
    /// How our own services speak.
    pub const OURS: Self = Self {
        unknown_members: UnknownMembers::Refuse,
        int64: Int64::String,
        errors: ErrorShape::Status,
        path_prefix: None,
        hoisted_details: &[],
        success: &[],
    };

    /// The HTTP status of a method's success.
    #[must_use]
    pub fn success_status(&self, method: &str) -> StatusCode {
        let found = self.success.iter().find(|(name, _)| *name == method);
        found.map_or(StatusCode::OK, |(_, status)| *status)
    }

    /// How messages are written: zero-valued fields as well, or a reader could not tell what is there.
    pub(super) fn serialize_options(&self) -> SerializeOptions {
        SerializeOptions::new()
            .skip_default_fields(false)
            .stringify_64_bit_integers(self.int64 == Int64::String)
    }
}

const YANDEX: Dialect = Dialect { unknown_members: UnknownMembers::Ignore, ..Dialect::OURS };

/// As Getty Images' API has it: 201, and what is wrong with assets at the top level.
const GETTY: Dialect = Dialect {
    int64: Int64::Number,
    hoisted_details: &["meterd.v1.InvalidAssets"],
    success: &[("ReportUsageBatch", StatusCode::CREATED)],
    ..Dialect::OURS
};

/// As Genesys Cloud's API has it: 202 for every operation that starts a query, and numbers for counts.
const GENESYS: Dialect = Dialect {
    unknown_members: UnknownMembers::Ignore,
    int64: Int64::Number,
    errors: ErrorShape::ErrorBody,
    path_prefix: Some("/api/v2/"),
    hoisted_details: &[],
    success: &[
        ("StartOrganizationQuery", StatusCode::ACCEPTED),
        ("StartClientQuery", StatusCode::ACCEPTED),
        ("StartClientSummary", StatusCode::ACCEPTED),
        ("StartSimpleSearch", StatusCode::ACCEPTED),
        ("CreateOrganizationAggregatesJob", StatusCode::ACCEPTED),
        ("CreateClientAggregatesJob", StatusCode::ACCEPTED),
    ],
};

/// Service (full name) → its dialect.
pub const DIALECTS: &[(&str, Dialect)] = &[
    ("meterd.v1.UsageBatchService", GETTY),
    ("meterd.v1.UsageQueryService", GENESYS),
    ("yandex.cloud.endpoint.ApiEndpointService", YANDEX),
    ("yandex.cloud.iam.v1.IamTokenService", YANDEX),
    ("yandex.cloud.marketplace.v1.metering.ImageProductUsageService", YANDEX),
    ("yandex.cloud.marketplace.metering.v1.ImageProductUsageService", YANDEX),
    ("yandex.cloud.marketplace.metering.v1.ProductUsageService", YANDEX),
];
