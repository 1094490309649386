//! Which web pages may call: cross-origin resource sharing, off unless origins are named.

use std::time::Duration;

use axum::Router;
use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{Any, CorsLayer};

/// How long a browser may remember what it was told. Browsers cap it anyway, Chromium at two hours.
const REMEMBERED: Duration = Duration::from_secs(7200);
/// What pages may send, besides what every page may.
const REQUEST_HEADERS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-user-agent"),
];
/// What pages may read, besides what every page may.
const ANSWER_HEADERS: [HeaderName; 8] = [
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::ALLOW,
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("meterd-duplicate-conflicts"),
    HeaderName::from_static("x-request-id"),
];

/// The web pages that may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CrossOrigin {
    /// None.
    #[default]
    Nobody,
    /// Pages of these origins.
    Origins(Vec<HeaderValue>),
    /// All pages.
    Anybody,
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: write a scheme, a host and, if it is not the usual one, a port, such as https://app.example.com; or * alone"
)]
pub struct OriginError(String);

impl CrossOrigin {
    /// Reads origins as browsers send them (RFC 6454, section 6.2); `*` alone stands for all.
    ///
    /// # Errors
    /// [`OriginError`] for the first text that is none.
    pub fn parse(origins: &[String]) -> Result<Self, OriginError> {
        match origins {
            [] => Ok(Self::Nobody),
            [all] if all == "*" => Ok(Self::Anybody),
            origins => origins
                .iter()
                .map(|text| origin(text).ok_or_else(|| OriginError(text.clone())))
                .collect::<Result<_, _>>()
                .map(Self::Origins),
        }
    }

    /// Whether pages of an origin may call.
    pub(super) fn has(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Nobody => false,
            Self::Origins(origins) => origins.contains(origin),
            Self::Anybody => true,
        }
    }

    /// Puts the rules around a router.
    pub(super) fn around(&self, router: Router) -> Router {
        let layer = match self {
            Self::Nobody => return router,
            Self::Origins(origins) => CorsLayer::new().allow_origin(origins.clone()),
            Self::Anybody => CorsLayer::new().allow_origin(Any),
        };
        router.layer(
            layer
                .allow_methods([
                    Method::GET,
                    Method::HEAD,
                    Method::POST,
                    Method::PUT,
                    Method::PATCH,
                    Method::DELETE,
                ])
                .allow_headers(REQUEST_HEADERS)
                .expose_headers(ANSWER_HEADERS)
                .max_age(REMEMBERED),
        )
    }
}

fn origin(text: &str) -> Option<HeaderValue> {
    let (scheme, authority) = text.split_once("://")?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-._:[]0123456789".contains(&byte))
    };
    if !matches!(scheme, "http" | "https") || !plain(authority) {
        return None;
    }
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let parse = |texts: &[&str]| {
            CrossOrigin::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(parse(&[]), Ok(CrossOrigin::Nobody));
        assert_eq!(parse(&["*"]), Ok(CrossOrigin::Anybody));
        assert!(matches!(
            parse(&["https://app.example.com", "http://[::1]:3000"]),
            Ok(CrossOrigin::Origins(origins)) if origins.len() == 2
        ));
        for text in
            ["", "example.com", "https://", "https://example.com/", "ftp://x", "https://A.com"]
        {
            assert_eq!(parse(&[text]), Err(OriginError(text.into())), "{text}");
        }
        assert!(parse(&["*", "https://example.com"]).is_err(), "all is all");
    }
}
