//! The only place where an error becomes a gRPC status.
//!
//! Callers get a code, a fixed or self-made text, and standard `google.rpc` details. Internal texts go
//! to the log, once, here.

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as BadField, StatusExt as _};

use super::{client_rates::ClientRate, pb::meterd::v1::InvalidAssets};
use crate::{
    auth::AuthError,
    service::{FieldViolation, FirstBatch, ServiceError, shortened},
};

/// The `domain` of our `ErrorInfo` details.
const ERROR_DOMAIN: &str = "meterd";

/// Violations that are spelled out. Their text travels in the trailers, and clients commonly take 8 KiB
/// of those; the rest is counted in the message.
const VIOLATIONS_MAX: usize = 32;

/// Most characters of a message. Some quote a path or a header, which have up to 64 KiB, and nobody who asks for nothing
/// must be able to say how large the answer is.
const MESSAGE_CHARS_MAX: usize = 1024;
/// Bytes of assets that a gRPC status lists: clients commonly take 8 KiB of trailers.
const INVALID_ASSETS_BYTES_MAX: usize = 3072;

/// Suggested to callers of what stops while little of the disk is free.
const RESERVE_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Suggested to callers with large requests while there are too many of those.
const LARGE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A use case's failure as the caller sees it.
pub(super) fn from_service(error: ServiceError) -> Status {
    match error {
        ServiceError::InvalidArgument(violations) => invalid_argument("", violations),
        ServiceError::InvalidBatch { violations, unknown_assets } => {
            invalid_batch(violations, unknown_assets, INVALID_ASSETS_BYTES_MAX)
        }
        ServiceError::BatchRecorded { id, first } => {
            let said = match first {
                Some(FirstBatch { identical: true, .. }) => "and said the same",
                Some(FirstBatch { identical: false, .. }) => "and said something else",
                None => "so long ago that what it said is no longer kept",
            };
            let text = format!("batch {id:?} was recorded before, {said}");
            let metadata = first.map(|FirstBatch { identical, usages }| {
                [
                    ("identical".to_owned(), identical.to_string()),
                    ("total_asset_usages_processed".to_owned(), usages.to_string()),
                ]
            });
            let mut details = ErrorDetails::new();
            details.set_error_info(
                "TRANSACTION_ID_DUPLICATED",
                ERROR_DOMAIN,
                metadata.into_iter().flatten().collect::<HashMap<_, _>>(),
            );
            Status::with_error_details(Code::AlreadyExists, text, details)
        }
        ServiceError::NotFound { resource, name } => with_reason(
            Code::NotFound,
            format!("there is no {resource} {name:?}"),
            "NOT_FOUND",
            None,
        ),
        ServiceError::NoLongerKept { resource, name } => with_reason(
            Code::NotFound,
            format!("the {resource} {name:?} was stored and counts, but is no longer kept"),
            "NO_LONGER_KEPT",
            None,
        ),
        ServiceError::AlreadyExists { resource, name } => with_reason(
            Code::AlreadyExists,
            format!("there is a {resource} {name:?} already"),
            "ALREADY_EXISTS",
            None,
        ),
        ServiceError::PermissionDenied(text) => {
            with_reason(Code::PermissionDenied, text, "PERMISSION_DENIED", None)
        }
        ServiceError::FailedPrecondition(text) => {
            with_reason(Code::FailedPrecondition, text, "FAILED_PRECONDITION", None)
        }
        ServiceError::LimitExceeded(ref exceeded) => {
            let mut details = ErrorDetails::new();
            details.set_error_info("LIMIT_EXCEEDED", ERROR_DOMAIN, []);
            for limit in exceeded {
                details.add_quota_failure_violation(limit.option, limit.to_string());
            }
            Status::with_error_details(Code::ResourceExhausted, error.to_string(), details)
        }
        ServiceError::TooManyReads { retry_after, .. } => with_reason(
            Code::ResourceExhausted,
            error.to_string(),
            "READ_QUEUE_FULL",
            Some(retry_after),
        ),
        ServiceError::TooManySeries(refused) => {
            tracing::warn!(%refused, "usage was refused");
            let text = format!("{refused}; nothing of this request was stored");
            with_reason(Code::ResourceExhausted, text, "TOO_MANY_SERIES", None)
        }
        ServiceError::TooManyChanges { changes_per_minute, retry_after } => with_reason(
            Code::ResourceExhausted,
            format!(
                "an organization may make {changes_per_minute} changes a minute, each of which is put on record; nothing was changed, try again later"
            ),
            "TOO_MANY_CHANGES",
            Some(retry_after),
        ),
        ServiceError::TooManyQueries { ref what, retry_after } => with_reason(
            Code::ResourceExhausted,
            what.clone(),
            "TOO_MANY_QUERIES",
            Some(retry_after),
        ),
        ServiceError::BelowReserve(below) => with_reason(
            Code::ResourceExhausted,
            below.to_string(),
            "DISK_RESERVE_REACHED",
            Some(RESERVE_RETRY_AFTER),
        ),
        ServiceError::Overloaded { retry_after } => with_reason(
            Code::ResourceExhausted,
            "too many records are waiting to be stored; nothing of this request was, try again later",
            "WRITE_QUEUE_FULL",
            Some(retry_after),
        ),
        ServiceError::Unavailable(internal) => {
            tracing::warn!(error = &*internal, "a call failed: the storage is not available");
            with_reason(
                Code::Unavailable,
                "the server's storage is not available now; records of this request may or may not be stored, send them again",
                "STORAGE_UNAVAILABLE",
                None,
            )
        }
        ServiceError::DataLoss(internal) => {
            tracing::error!(
                error = &*internal,
                "a call failed: stored data is damaged; run `meterd verify`"
            );
            with_reason(Code::DataLoss, "stored data is damaged", "DATA_DAMAGED", None)
        }
        ServiceError::Internal(internal) => {
            tracing::error!(error = &*internal, "a call failed");
            with_reason(Code::Internal, "internal error", "INTERNAL", None)
        }
    }
}

/// Names every field at fault. `context` says where the fields are, if not in the request itself.
pub(super) fn invalid_argument(context: &str, violations: Vec<FieldViolation>) -> Status {
    let (message, details) = describe(context, violations);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn describe(context: &str, violations: Vec<FieldViolation>) -> (String, ErrorDetails) {
    let mut message = context.to_owned();
    let more = violations.len().saturating_sub(VIOLATIONS_MAX);
    let named: Vec<FieldViolation> = violations.into_iter().take(VIOLATIONS_MAX).collect();
    let texts =
        named.iter().map(|violation| format!("{}: {}", violation.field, violation.description));
    message.push_str(&texts.take(3).collect::<Vec<_>>().join("; "));
    let unsaid = named.len().saturating_sub(3) + more;
    if unsaid > 0 {
        message.push_str(&format!("; and {unsaid} more"));
    }
    let fields = named
        .into_iter()
        .map(|violation| BadField::new(violation.field, violation.description))
        .collect::<Vec<_>>();
    let mut details = ErrorDetails::new();
    details.set_bad_request(fields);
    details.set_error_info("INVALID_ARGUMENT", ERROR_DOMAIN, []);
    (message, details)
}

/// What is wrong with a batch: the fields at fault, and the assets that take no usage, of which so many bytes are
/// listed.
pub(super) fn invalid_batch(
    mut violations: Vec<FieldViolation>,
    unknown_assets: Vec<String>,
    assets_bytes_max: usize,
) -> Status {
    let count = unknown_assets.len();
    if let Some(first) = unknown_assets.first() {
        let description = match count {
            1 => format!("the asset {first:?} is unknown or retired"),
            _ => format!("{count} assets are unknown or retired, such as {first:?}"),
        };
        violations.insert(0, FieldViolation::new("asset_usages", description));
    }
    let (message, mut details) = describe("", violations);
    let counted = [("invalid_asset_count".to_owned(), count.to_string())];
    details.set_error_info("INVALID_ARGUMENT", ERROR_DOMAIN, counted);
    let status = Status::with_error_details(Code::InvalidArgument, message, details);
    let mut bytes = 0;
    let listed = unknown_assets.into_iter().take_while(|asset| {
        bytes += asset.len() + 3;
        bytes <= assets_bytes_max
    });
    let invalid =
        InvalidAssets { invalid_assets: listed.collect(), total_asset_usages_processed: 0 };
    with_detail(&status, "meterd.v1.InvalidAssets", &invalid)
}

/// A status with one more detail, of a type that is not among the standard ones.
fn with_detail(status: &Status, name: &str, detail: &impl prost::Message) -> Status {
    let mut whole = match tonic_types::pb::Status::decode(status.details()) {
        Ok(whole) => whole,
        // Its own details are well-formed; and if they were not, the error must get through.
        Err(_) => return status.clone(),
    };
    whole.details.push(Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: detail.encode_to_vec(),
    });
    Status::with_details(status.code(), status.message(), whole.encode_to_vec().into())
}

/// Prefixes what a stream's message was refused for with the message's sequence.
pub(super) fn in_message(sequence: u64, error: ServiceError) -> Status {
    match error {
        ServiceError::InvalidArgument(violations) => {
            invalid_argument(&format!("message with sequence {sequence}: "), violations)
        }
        other => from_service(other),
    }
}

/// An authentication failure as the caller sees it.
pub(super) fn from_auth(error: AuthError) -> Status {
    match error {
        AuthError::Missing
        | AuthError::Repeated(_)
        | AuthError::Malformed
        | AuthError::Invalid
        | AuthError::UnknownKey
        | AuthError::Claims(_)
        | AuthError::InvalidApiKey
        | AuthError::DifferentClients => {
            with_reason(Code::Unauthenticated, error.to_string(), "UNAUTHENTICATED", None)
        }
        AuthError::Forbidden(_) => {
            with_reason(Code::PermissionDenied, error.to_string(), "PERMISSION_DENIED", None)
        }
    }
}

/// Too many calls at once, of all or of some.
pub(super) fn too_many_calls(calls_max: usize, whose: &str, retry_after: Duration) -> Status {
    let text = format!("more than {calls_max} calls{whose} are under way; try again later");
    with_reason(Code::ResourceExhausted, text, "TOO_MANY_CALLS", Some(retry_after))
}

/// Too many unauthenticated requests whose bodies have not come.
pub(super) fn too_many_unfinished(max: usize, whose: &str) -> Status {
    let text = format!(
        "more than {max} requests without valid credentials are unfinished{whose}; send each whole, and try again later"
    );
    with_reason(
        Code::ResourceExhausted,
        text,
        "TOO_MANY_UNFINISHED_REQUESTS",
        Some(LARGE_RETRY_AFTER),
    )
}

/// The headers are larger than an unauthenticated caller may send.
pub(super) fn headers_too_large(bytes: usize, bytes_max: usize) -> Status {
    let text = format!(
        "the headers have {bytes} bytes, and those of a call that needs no credentials may have {bytes_max}; leave out what it does not need"
    );
    with_reason(Code::ResourceExhausted, text, "HEADERS_TOO_LARGE", None)
}

/// The request names the server twice, and differently.
pub(super) fn ambiguous_host(text: &'static str) -> Status {
    with_reason(Code::InvalidArgument, text, "AMBIGUOUS_HOST", None)
}

/// Development mode: the request is not of a program on this machine.
pub(super) fn not_local(text: String) -> Status {
    with_reason(Code::PermissionDenied, text, "NOT_LOCAL", None)
}

/// The window of zstd is larger than HTTP allows.
pub(super) fn zstd_window_too_large(bytes: u64, bytes_max: u64) -> Status {
    let text = format!(
        "the zstd window has {bytes} bytes, at most {bytes_max} are allowed (RFC 9659); compress with a smaller one"
    );
    with_reason(Code::InvalidArgument, text, "ZSTD_WINDOW_TOO_LARGE", None)
}

/// Too many large requests at once.
pub(super) fn too_many_large_requests(requests_max: usize) -> Status {
    let text = format!("{requests_max} large requests are being read already; try again later");
    with_reason(Code::ResourceExhausted, text, "TOO_MANY_LARGE_REQUESTS", Some(LARGE_RETRY_AFTER))
}

/// A client reports faster than it may.
pub(super) fn client_too_fast(rate: &ClientRate, retry_after: Duration) -> Status {
    let ClientRate { records_per_second, burst } = rate;
    let text = format!(
        "this client may report {records_per_second} records a second, and {burst} at once after a pause; nothing of this request was stored, try again later"
    );
    with_reason(Code::ResourceExhausted, text, "CLIENT_RATE_EXCEEDED", Some(retry_after))
}

/// A stream that its caller would not end.
pub(super) fn shutting_down() -> Status {
    let text = "the server is shutting down; connect again";
    with_reason(Code::Unavailable, text, "SHUTTING_DOWN", None)
}

/// The caller's deadline passed.
pub(super) fn deadline_exceeded() -> Status {
    with_reason(
        Code::DeadlineExceeded,
        "the call's deadline passed; records of this request may or may not be stored, send them again",
        "DEADLINE_EXCEEDED",
        None,
    )
}

/// Somebody said who it is, and cannot prove it.
pub(super) fn unproven_identity() -> Status {
    let text = "the assertion does not prove who you are: it must be signed with a registered key of the client in `iss`, for this server in `aud`, be valid now for at most an hour, and not have been used; why it was refused is in the log of the server";
    with_reason(Code::Unauthenticated, text, "UNAUTHENTICATED", None)
}

/// The client is who it says, and has used too many assertions that have not expired.
pub(super) fn too_many_assertions(text: String) -> Status {
    with_reason(Code::ResourceExhausted, text, "TOO_MANY_ASSERTIONS", None)
}

/// This server cannot say where it is.
pub(super) fn no_name() -> Status {
    let text = "this server does not know what it is called; its operator must set --public-url";
    with_reason(Code::FailedPrecondition, text, "NO_PUBLIC_URL", None)
}

/// The vendor has such a method, and this server has no use for it.
pub(super) fn not_offered(text: &str) -> Status {
    with_reason(Code::Unimplemented, text, "NOT_OFFERED", None)
}

/// There is no such service to be found.
pub(super) fn no_such_endpoint(services: &[&str]) -> Status {
    let text = format!("there is no such service here; there are {}", services.join(", "));
    with_reason(Code::NotFound, text, "NOT_FOUND", None)
}

/// gRPC: there is no method of that path.
pub(super) fn no_such_method(path: &str) -> Status {
    let text = format!("there is no method {path}");
    Status::unimplemented(shortened(text, MESSAGE_CHARS_MAX))
}

/// REST: nothing is at that path.
pub(super) fn no_such_path(path: &str) -> Status {
    let text = format!("there is nothing at {path}; /docs shows what there is");
    with_reason(Code::NotFound, text, "NO_SUCH_PATH", None)
}

/// REST: the path exists, for other verbs.
pub(super) fn method_not_allowed() -> Status {
    let text = "this path has no such method; the header Allow lists those it has";
    with_reason(Code::Unimplemented, text, "METHOD_NOT_ALLOWED", None)
}

/// REST: a gRPC method was called with something else than gRPC.
pub(super) fn grpc_only(content_type: &str) -> Status {
    let text = format!(
        "this is a gRPC method and takes application/grpc or application/grpc-web, not {content_type:?}; /docs shows the paths that take JSON"
    );
    with_reason(Code::InvalidArgument, text, "UNSUPPORTED_MEDIA_TYPE", None)
}

/// REST: the body is no JSON.
pub(super) fn unsupported_media_type(given: &str) -> Status {
    let text = format!("the body must be application/json in UTF-8, not {given:?}");
    with_reason(Code::InvalidArgument, text, "UNSUPPORTED_MEDIA_TYPE", None)
}

/// REST: the body is compressed in a way that is not known.
pub(super) fn unsupported_encoding(given: &str) -> Status {
    let text = format!("the body may be compressed with gzip or zstd, not {given:?}");
    with_reason(Code::InvalidArgument, text, "UNSUPPORTED_CONTENT_ENCODING", None)
}

/// The body is over the limit.
pub(super) fn body_too_large(bytes_max: usize) -> Status {
    let text = format!("the body may have up to {bytes_max} bytes after decompression");
    with_reason(Code::OutOfRange, text, "BODY_TOO_LARGE", None)
}

/// The body ended before it was complete, or its compression is broken.
pub(super) fn broken_body() -> Status {
    let text = "the body could not be read to its end; nothing of it was taken";
    with_reason(Code::InvalidArgument, text, "BROKEN_BODY", None)
}

/// The body did not come in time.
pub(super) fn slow_body(limit: Duration) -> Status {
    let text =
        format!("the body took longer than {} s; nothing of it was taken", limit.as_secs_f64());
    with_reason(Code::DeadlineExceeded, text, "BODY_TIMEOUT", None)
}

/// REST: a method answered what cannot be written as JSON, which is our mistake.
pub(super) fn unreadable_answer(method: &str, internal: &str) -> Status {
    tracing::error!(method, error = internal, "an answer cannot be written as JSON");
    with_reason(Code::Internal, "internal error", "INTERNAL", None)
}

fn with_reason(
    code: Code,
    message: impl Into<String>,
    reason: &str,
    retry_after: Option<Duration>,
) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, ERROR_DOMAIN, []);
    if let Some(retry_after) = retry_after {
        details.set_retry_info(Some(retry_after));
    }
    Status::with_error_details(code, shortened(message.into(), MESSAGE_CHARS_MAX), details)
}
