//! Streams of answers: NDJSON, or server-sent events for those who ask for them.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use super::{Rest, answer, rule::Binding};
use crate::api::{layers::Outcome, status};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENT_STREAM: &str = "text/event-stream";

/// How the messages of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A line each. A failure under way is a last line `{"error": …}`.
    Lines,
    /// An event each (WHATWG HTML, section 9.2). A failure under way is an event `error`.
    Events,
}

impl Framing {
    /// What the caller accepts.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let events = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(EVENT_STREAM));
        if events { Self::Events } else { Self::Lines }
    }

    fn frame(self, json: &[u8]) -> Bytes {
        match self {
            Self::Lines => [json, b"\n"].concat().into(),
            Self::Events => [b"data: ".as_slice(), json, b"\n\n"].concat().into(),
        }
    }

    fn failure(self, json: &serde_json::Value) -> Bytes {
        match self {
            Self::Lines => format!("{{\"error\":{json}}}\n").into(),
            Self::Events => format!("event: error\ndata: {json}\n\n").into(),
        }
    }

    fn content_type(self) -> HeaderValue {
        match self {
            Self::Lines => NDJSON,
            Self::Events => HeaderValue::from_static(EVENT_STREAM),
        }
    }
}

/// What a stream needs to go on.
struct Going {
    rest: Arc<Rest>,
    binding: Arc<Binding>,
    framing: Framing,
    messages: Streaming<Bytes>,
    deadline: Option<Instant>,
    outcome: Outcome,
    request_id: Option<HeaderValue>,
}

/// The answer to a call that streams.
pub(super) fn respond(
    rest: Arc<Rest>,
    binding: Arc<Binding>,
    framing: Framing,
    answer: tonic::Response<Streaming<Bytes>>,
    deadline: Option<Instant>,
    request_id: Option<HeaderValue>,
) -> Response {
    let (metadata, messages, _) = answer.into_parts();
    // Whoever leaves early has cancelled the call.
    let outcome = Outcome::new(Code::Cancelled);
    let status = binding.success;
    let going =
        Going { rest, binding, framing, messages, deadline, outcome: outcome.clone(), request_id };
    let mut response = Response::new(Body::from_stream(frames(going)));
    *response.status_mut() = status;
    response.extensions_mut().insert(outcome);
    answer::pass_on(metadata.as_ref(), response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, framing.content_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn frames(going: Going) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(Some(going), |going| async {
        let mut going = going?;
        let next = match going.deadline {
            None => going.messages.next().await,
            Some(deadline) => timeout_at(deadline, going.messages.next())
                .await
                .unwrap_or_else(|_| Some(Err(status::deadline_exceeded()))),
        };
        let framed = match next {
            None => {
                going.outcome.set(Code::Ok);
                return None;
            }
            Some(message) => message.and_then(|message| answer::json(&going.binding, &message)),
        };
        match framed {
            Ok(json) => Some((Ok(going.framing.frame(&json)), Some(going))),
            Err(status) => Some((Ok(going.fail(&status)), None)),
        }
    })
}

impl Going {
    fn fail(&self, status: &Status) -> Bytes {
        self.outcome.set(status.code());
        let json = self.rest.failure_json(status, &self.binding.dialect, self.request_id.as_ref());
        self.framing.failure(&json)
    }
}
