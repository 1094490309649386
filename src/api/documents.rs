//! What a person reads: the OpenAPI document and a page that shows it.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tonic::Code;

use super::{layers::Outcome, rest::Failure};

/// The page may load what this server has, and nothing else. Swagger UI sets styles in elements.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Files of Swagger UI change with the binary only.
const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

struct Document {
    path: &'static str,
    content_type: &'static str,
    cache: HeaderValue,
    content: Bytes,
}

/// All documents.
pub(super) struct Documents(Vec<Document>);

impl Documents {
    /// With this OpenAPI document.
    pub(super) fn new(openapi: &serde_json::Value) -> Self {
        macro_rules! swagger_ui {
            ($name:literal) => {
                Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/", $name)))
            };
        }
        let document = |path, content_type, cache: &HeaderValue, content| Document {
            path,
            content_type,
            cache: cache.clone(),
            content,
        };
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        Self(vec![
            document(
                "/openapi.json",
                "application/json",
                &REVALIDATE,
                Bytes::from(format!("{openapi:#}\n")),
            ),
            document(
                "/docs",
                "text/html; charset=utf-8",
                &REVALIDATE,
                text(include_str!("documents/docs.html")),
            ),
            document(
                "/docs/docs.js",
                "text/javascript; charset=utf-8",
                &AN_HOUR,
                text(include_str!("documents/docs.js")),
            ),
            document(
                "/docs/swagger-ui-bundle.js",
                "text/javascript; charset=utf-8",
                &AN_HOUR,
                swagger_ui!("swagger-ui-bundle.js"),
            ),
            document(
                "/docs/swagger-ui.css",
                "text/css; charset=utf-8",
                &AN_HOUR,
                swagger_ui!("swagger-ui.css"),
            ),
            document(
                "/docs/favicon-32x32.png",
                "image/png",
                &AN_HOUR,
                swagger_ui!("favicon-32x32.png"),
            ),
        ])
    }

    /// The document at a path, if there is one.
    ///
    /// # Errors
    /// For anything but GET and HEAD.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Option<Found<'_>>, Failure> {
        // People end paths with a slash as they like.
        let found = self.0.iter().find_map(|document| {
            let rest = path.strip_prefix(document.path)?;
            matches!(rest, "" | "/").then_some(Found { document, is_exact: rest.is_empty() })
        });
        if found.is_some() && !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Failure::method_not_allowed(&[Method::GET, Method::HEAD]));
        }
        Ok(found)
    }
}

/// A document that a request is for.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    document: &'a Document,
    // Otherwise its path lies next to it.
    is_exact: bool,
}

impl Found<'_> {
    pub(super) fn answer(&self) -> Response {
        let Self { document, is_exact } = *self;
        let mut response = Response::new(Body::from(document.content.clone()));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.content_type));
        headers.insert(header::CACHE_CONTROL, document.cache.clone());
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        if !is_exact {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            // Relative, so that it holds behind a proxy that adds a prefix.
            let name = document.path.rsplit('/').next().unwrap_or_default();
            if let Ok(location) = HeaderValue::from_str(&format!("../{name}")) {
                headers.insert(header::LOCATION, location);
            }
            *response.body_mut() = Body::empty();
        }
        *response.headers_mut() = headers;
        response.extensions_mut().insert(Outcome::new(Code::Ok));
        response
    }
}
