//! Watching a call to the end of its answer: only there is its gRPC code known, its time over and its
//! permit free for another.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant as Deadline, Sleep, sleep_until};
use tonic::{Code, Status};

use super::in_flight::CallPermit;
use crate::{
    api::{
        connection::PermittedCall,
        metrics::Metrics,
        rest::http_status,
        self_metering::{CallMeter, Protocol},
        status,
    },
    domain::caller::Caller,
};

/// Counts a call from its begin until it is dropped.
pub(super) struct CallGuard {
    metrics: Arc<Metrics>,
    method: &'static str,
    began: Instant,
    // What the call counts as if its answer is given up.
    code: Code,
    // The HTTP status of an answer that is no gRPC.
    http: Option<StatusCode>,
    permit: Option<CallPermit>,
    on_connection: Option<PermittedCall>,
    metered: Option<Metered>,
}

/// Whose API usage the call is.
pub(super) struct Metered {
    pub(super) meter: Arc<CallMeter>,
    pub(super) row: usize,
    pub(super) caller: Caller,
    pub(super) protocol: Protocol,
}

impl CallGuard {
    pub(super) fn begin(metrics: Arc<Metrics>, method: &'static str, began: Instant) -> Self {
        metrics.call_began();
        let code = Code::Cancelled;
        Self {
            metrics,
            method,
            began,
            code,
            http: None,
            permit: None,
            on_connection: None,
            metered: None,
        }
    }

    /// Counts the call as API usage when it is over.
    pub(super) fn meter(&mut self, metered: Metered) {
        self.metered = Some(metered);
    }

    /// Keeps the call's permit.
    pub(super) fn hold(&mut self, permit: CallPermit) {
        self.permit = Some(permit);
    }

    /// Counts the call on its connection until it is over.
    pub(super) fn count_on_connection(&mut self, call: PermittedCall) {
        self.on_connection = Some(call);
    }

    /// Gives the permit back before the answer is taken: whoever does not take it keeps nothing of worth here.
    pub(super) fn release_permit(&mut self) {
        self.permit = None;
    }

    /// Goes along with the answer to its end. The permit is kept until the answer is gone: whoever compresses it, for one,
    /// has read it to its end long before.
    pub(super) fn answer(mut self, response: Response, deadline: Option<Deadline>) -> Response {
        let (mut parts, body) = response.into_parts();
        let permit = self.permit.take();
        if permit.is_none() {
            parts.extensions.insert(HoldsNothing);
        }
        let outcome = parts.extensions.get::<Outcome>().cloned();
        self.http = outcome.is_some().then_some(parts.status);
        // A trailers-only answer has its code among the headers.
        if let Some(code) = grpc_code(&parts.headers) {
            self.code = code;
        }
        let deadline = deadline
            // Answers that are no gRPC end by their own means.
            .filter(|_| outcome.is_none())
            .map(|deadline| Box::pin(sleep_until(deadline)));
        Response::from_parts(
            parts,
            Body::new(WatchedBody {
                inner: body,
                deadline,
                outcome,
                guard: Some(self),
                _permit: permit,
            }),
        )
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.metrics.call_ended(self.method, self.code, self.began.elapsed());
        if let Some(Metered { meter, row, caller, protocol }) = self.metered.take() {
            // A stream that fails has begun with 200.
            let answered = self.http.filter(|http| !http.is_success() || self.code == Code::Ok);
            let status = answered.unwrap_or_else(|| http_status(self.code));
            meter.count(row, &caller, protocol, status);
        }
    }
}

fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// In the extensions of an answer that takes no permit, because it costs next to nothing while nobody takes it. So must
/// nothing that is done to it.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct HoldsNothing;

/// What became of a call whose answer is no gRPC, in the extensions of the answer. The answer's body may
/// change it until its end.
#[derive(Debug, Clone)]
pub(in crate::api) struct Outcome(Arc<AtomicI32>);

impl Outcome {
    pub(in crate::api) fn new(code: Code) -> Self {
        Self(Arc::new(AtomicI32::new(code.into())))
    }

    pub(in crate::api) fn set(&self, code: Code) {
        self.0.store(code.into(), Ordering::Relaxed);
    }

    fn code(&self) -> Code {
        Code::from_i32(self.0.load(Ordering::Relaxed))
    }
}

struct WatchedBody {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    outcome: Option<Outcome>,
    // Taken at the end of the body.
    guard: Option<CallGuard>,
    _permit: Option<CallPermit>,
}

impl WatchedBody {
    fn end(&mut self, code: Option<Code>) {
        if let Some(mut guard) = self.guard.take()
            && let Some(code) = code
        {
            guard.code = code;
        }
    }
}

impl Drop for WatchedBody {
    // Bodies of known length are not polled to their end.
    fn drop(&mut self) {
        let code = self.outcome.as_ref().map(Outcome::code);
        self.end(code);
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.guard.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(grpc_code) {
                    self.end(Some(code));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => {
                let code = self.outcome.as_ref().map(Outcome::code);
                self.end(code);
                Poll::Ready(other)
            }
            Poll::Pending => {
                let passed = self
                    .deadline
                    .as_mut()
                    .is_some_and(|deadline| deadline.as_mut().poll(context).is_ready());
                if !passed {
                    return Poll::Pending;
                }
                // A stream that outlives its deadline ends as gRPC wants it to.
                self.end(Some(Code::DeadlineExceeded));
                let mut trailers = HeaderMap::new();
                let status: Status = status::deadline_exceeded();
                let _ = status.add_header(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.guard.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
