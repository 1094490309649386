//! Requests that are not complete while something is decided about them, and what becomes of bodies that are not wanted.

use std::sync::Arc;

use axum::extract::Request;
use futures_util::FutureExt as _;
use http::{Extensions, Version};
use tokio::sync::Semaphore;
use tonic::Status;

use super::{call::BodyLimits, head};
use crate::api::{
    connection::{Connection, UnfinishedRequest},
    limit::{Exhausted, Limit, Permit},
    metrics::Metrics,
    peer_address::AddressGroup,
    request_bytes::{SmallBody, discard, within},
    rest::Failure,
    status,
};

/// Unauthenticated requests of one connection that wait for their bodies.
const PER_CONNECTION_MAX: usize = 8;
/// Of all, one address may have one in so many.
const ADDRESS_SHARE: usize = 4;
/// Bodies that are read and dropped at once, after their requests were refused. Each costs what HTTP/2 keeps for a stream.
const DRAINED_MAX: usize = 4096;

/// The HTTP version of a request as it came in, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct WireVersion(pub(in crate::api) Version);

/// Limits of unauthenticated requests that are unfinished.
#[derive(Debug)]
pub(super) struct Unfinished {
    requests: Limit<AddressGroup>,
    drained: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// An unfinished request is counted until this is dropped.
struct Counted {
    _request: Permit,
    _on_connection: Option<UnfinishedRequest>,
}

impl Unfinished {
    pub(super) fn new(requests_max: usize, metrics: Arc<Metrics>) -> Self {
        let requests = Limit::new(requests_max, requests_max / ADDRESS_SHARE);
        Self { requests, drained: Arc::new(Semaphore::new(DRAINED_MAX)), metrics }
    }

    fn begin(&self, extensions: &Extensions) -> Result<Counted, Status> {
        let refused = status::too_many_unfinished;
        let on_connection = Connection::of(extensions)
            .map(|connection| {
                let counted = connection.unfinished_request(PER_CONNECTION_MAX);
                counted.ok_or_else(|| refused(PER_CONNECTION_MAX, " on this connection"))
            })
            .transpose()?;
        let request = self.requests.take(&AddressGroup::of(extensions));
        let request = request.map_err(|exhausted| match exhausted {
            Exhausted::All(max) => refused(max, ""),
            Exhausted::Share(max) => refused(max, " from this address"),
        })?;
        Ok(Counted { _request: request, _on_connection: on_connection })
    }

    /// Reads the body of an unauthenticated request, and puts it in its place. Nothing is counted, and nothing else held, if
    /// it is there already.
    pub(super) async fn read_body(
        &self,
        request: &mut Request,
        limits: BodyLimits,
    ) -> Result<(), Failure> {
        let mut body = SmallBody::new(std::mem::take(request.body_mut()), limits.bytes_max);
        match body.read().now_or_never() {
            Some(read) => read?,
            None => {
                let _counted = match self.begin(request.extensions()) {
                    Ok(counted) => counted,
                    Err(status) => {
                        self.metrics.unfinished_requests_refused.inc();
                        *request.body_mut() = body.into_unread();
                        return Err(status.into());
                    }
                };
                head::keep_needed(request.headers_mut());
                within(limits.timeout, body.read()).await?;
            }
        }
        *request.body_mut() = body.into_bytes().into();
        Ok(())
    }

    /// Drops a request that is refused, and sees to it that the connection can go on after the answer. Whether it can.
    ///
    /// Over HTTP/2 the body is read after the answer: what comes of it once its stream is forgotten is an error of the peer,
    /// and too many of those end the connection with all its calls. Over HTTP/1.1 it is read before, since closing a
    /// connection with unread data may cost the peer the answer.
    pub(super) async fn refuse(&self, request: Request) -> bool {
        let (parts, body) = request.into_parts();
        if http_body::Body::is_end_stream(&body) {
            return true;
        }
        let version = parts.extensions.get::<WireVersion>();
        if version.is_some_and(|version| version.0 == Version::HTTP_2) {
            if let Ok(permit) = Arc::clone(&self.drained).try_acquire_owned() {
                tokio::spawn(async move {
                    discard(body).await;
                    drop(permit);
                });
            }
            return true;
        }
        let Ok(_counted) = self.begin(&parts.extensions) else { return false };
        drop(parts);
        discard(body).await
    }
}
