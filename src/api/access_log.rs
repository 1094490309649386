//! Envoy's access log service: a proxy feeds meterd without code.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{
    actor::principal,
    client_rates::ClientRates,
    convert::access_log::entries_from_proto,
    metrics::Metrics,
    pb::envoy::service::accesslog::v3::{
        StreamAccessLogsMessage, StreamAccessLogsResponse,
        access_log_service_server::AccessLogService,
    },
    status,
};
use crate::{
    domain::caller::Caller,
    service::{
        FieldViolation,
        access_log::{AccessLogs, Digest, DropReason, Tally},
    },
};

/// Characters of a proxy's names that are logged.
const LOGGED_CHARS_MAX: usize = 128;

/// Serves `envoy.service.accesslog.v3.AccessLogService`.
#[derive(Debug, Clone)]
pub(super) struct AccessLogHandler {
    pub(super) logs: Arc<AccessLogs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rates: Arc<ClientRates>,
    /// True when the server shuts down: proxies never end their streams.
    pub(super) stopping: watch::Receiver<bool>,
}

impl AccessLogHandler {
    /// Waits until the client may report so much, or the server begins to shut down: nobody would send it again. A proxy
    /// that hangs up meanwhile loses it, or hanging up would be a way around the limit.
    async fn wait(&self, caller: &Caller, digest: &Digest) {
        let mut unstored = Unstored { metrics: &self.metrics, digest: Some(digest) };
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.rates.wait(caller, digest.events.len()) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        unstored.digest = None;
    }

    async fn record(&self, caller: &Caller, digest: Digest) -> Result<(), Status> {
        let (tally, stored) = self.logs.store(caller, digest).await;
        self.metrics.count_access_log(&tally);
        stored.map_err(status::from_service)
    }
}

/// Entries that wait to be stored; counted as dropped if the wait is given up.
struct Unstored<'a> {
    metrics: &'a Metrics,
    digest: Option<&'a Digest>,
}

impl Drop for Unstored<'_> {
    fn drop(&mut self) {
        let Some(digest) = self.digest else { return };
        let mut tally = Tally { calls: 0, ..digest.tally.clone() };
        *tally.dropped.entry(DropReason::RateLimited).or_default() += digest.calls();
        self.metrics.count_access_log(&tally);
    }
}

#[tonic::async_trait]
impl AccessLogService for AccessLogHandler {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let principal = principal(&request)?;
        let mut messages = request.into_inner();
        let mut stopping = self.stopping.clone();
        let mut is_first = true;
        loop {
            let message = tokio::select! {
                message = messages.message() => message?,
                _ = stopping.wait_for(|stopping| *stopping) => return Err(status::shutting_down()),
            };
            let Some(message) = message else {
                return Ok(Response::new(StreamAccessLogsResponse {}));
            };
            if is_first {
                introduce(&message)?;
                is_first = false;
            }
            // No message is read before this one is stored, which slows the proxy down.
            let digest = self.logs.digest(&principal.caller, entries_from_proto(message));
            self.wait(&principal.caller, &digest).await;
            // A task of its own: a proxy that hangs up does not stop it.
            let (handler, caller) = (self.clone(), principal.caller.clone());
            let recording = async move { handler.record(&caller, digest).await };
            tokio::spawn(recording.in_current_span())
                .await
                .map_err(|_| Status::internal("internal error"))??;
        }
    }
}

/// Logs who sends.
fn introduce(message: &StreamAccessLogsMessage) -> Result<(), Status> {
    let Some(identifier) = &message.identifier else {
        let violation = FieldViolation::new("identifier", "must be set in the first message");
        return Err(status::invalid_argument("", vec![violation]));
    };
    let shortened = |text: &str| text.chars().take(LOGGED_CHARS_MAX).collect::<String>();
    let node = shortened(identifier.node.as_ref().map_or("", |node| &node.id));
    let log_name = shortened(&identifier.log_name);
    tracing::info!(?node, ?log_name, "a proxy sends its access log");
    Ok(())
}
