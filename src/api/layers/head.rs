//! The headers of unauthenticated calls: how many bytes they may have, and which of them are kept while a body is awaited.

use http::{HeaderMap, HeaderName, Uri, header};
use tonic::Status;

use crate::api::status;

/// Bytes of the headers of an unauthenticated call, counted as HTTP/2 counts them.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// What HTTP/2 counts for each header beside its text (RFC 9113, section 6.5.2).
const OVERHEAD_BYTES: usize = 32;

/// What calls that need no credentials look at. Others are dropped before a body is awaited.
const NEEDED: [HeaderName; 13] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::TE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-request-id"),
];

/// Checks that an unauthenticated call has no more headers than it may.
///
/// # Errors
/// RESOURCE_EXHAUSTED, which is 431 over REST.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Status> {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD_BYTES);
    let bytes = fields.fold(path, usize::saturating_add);
    if bytes <= HEADER_BYTES_MAX {
        return Ok(());
    }
    Err(status::headers_too_large(bytes, HEADER_BYTES_MAX))
}

/// Drops the headers that no unauthenticated call needs.
pub(super) fn keep_needed(headers: &mut HeaderMap) {
    let mut kept = HeaderMap::new();
    for name in NEEDED {
        for value in headers.get_all(&name) {
            kept.append(name.clone(), value.clone());
        }
    }
    *headers = kept;
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn header_bytes_are_counted_with_path_and_overhead() {
        let uri: Uri = "/docs?x=1".parse().unwrap();
        let mut headers = HeaderMap::new();
        let most = HEADER_BYTES_MAX - "/docs?x=1".len() - "x-pad".len() - OVERHEAD_BYTES;
        headers.insert("x-pad", HeaderValue::from_str(&"p".repeat(most)).unwrap());
        check(&uri, &headers).unwrap();
        headers.append("x-pad", HeaderValue::from_static(""));
        let refused = check(&uri, &headers).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let said = refused.message();
        assert!(said.contains("8229") && said.contains("8192"), "{said}");
    }

    #[test]
    fn only_needed_headers_are_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("content-type", "a"), ("cookie", "b"), ("content-type", "c"), ("x-request-id", "d")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        keep_needed(&mut headers);
        assert_eq!(headers.len(), 3);
        assert!(!headers.contains_key("cookie"));
        assert_eq!(headers.get_all("content-type").iter().count(), 2);
    }
}
