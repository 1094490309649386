//! What every call passes on its way to a handler and back, in this order: request id, span and metrics, the server that it
//! is for, authentication, a permit among the calls in flight, permission, the deadline.
//!
//! Who is calling is found out before a permit is taken, since unauthenticated callers must not take those of others. That
//! costs a look-up in memory, or at most one signature to be verified. Calls that need no credentials have only few headers,
//! and take their permit when their body is there.

mod answer;
mod call;
mod deadline;
mod head;
mod host;
mod in_flight;
mod request_id;
mod unread;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant as Moment;
use tonic::Status;
use tracing::Instrument as _;

use self::{
    answer::{CallGuard, Metered},
    in_flight::InFlight,
    unread::Unfinished,
};
pub(super) use self::{
    answer::{HoldsNothing, Outcome},
    call::{BodyLimits, Call},
    request_id::HEADER as REQUEST_ID,
    unread::WireVersion,
};
use super::{
    client_rates::ClientRate, connection::Connection, failed_credentials::FailedCredentials,
    limit::Exhausted, metrics::Metrics, origins::CrossOrigin, peer_address::AddressGroup,
    rest::Failure, self_metering::CallMeter, status,
};
use crate::{
    auth::{AuthError, Authentication, Credentials, Principal, rpc_permissions::Access},
    service::clock::Clock,
};

/// Suggested to callers that are refused because too many calls are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Where an API key stands.
const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Of the unauthenticated calls in flight, one in so many may be a refusal that waits for its answer.
const SHARE_OF_FAILURES: usize = 4;

/// Limits of single calls. Those of connections are the server's.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Calls under way in the whole process whose callers are known; health checks do not count. One client may have
    /// three quarters of them. Default 1024.
    pub calls_in_flight_max: usize,
    /// Those of them whose callers send streams, which may stay for ever. Default 512.
    pub streams_in_flight_max: usize,
    /// Calls under way without valid credentials: signing in, documents, reflection. Half of them may be streams, and half
    /// of one address. As many more may be waiting for their bodies, a quarter of them of one address. Default 512.
    pub unauthenticated_in_flight_max: usize,
    /// How long the refusal of wrong credentials may wait, after many from its address. Default 1 s.
    pub refusal_delay_max: Duration,
    /// Bytes of one message, after decompression. Default 4 MiB.
    pub message_bytes_max: usize,
    /// Requests of over 256 KiB that are in memory at once. Default 64.
    pub large_requests_max: usize,
    /// How long the request of a call may take to come in, unless it is a stream. Default 60 s.
    pub request_timeout: Duration,
    /// How much each client may report; `None` for as much as the disk takes. Default: `None`.
    pub client_rate: Option<ClientRate>,
    /// Messages of one usage stream under way. Default 8.
    pub stream_messages_in_flight_max: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls_in_flight_max: 1024,
            streams_in_flight_max: 512,
            unauthenticated_in_flight_max: 512,
            refusal_delay_max: Duration::from_secs(1),
            message_bytes_max: 4 << 20,
            large_requests_max: 64,
            request_timeout: Duration::from_secs(60),
            client_rate: None,
            stream_messages_in_flight_max: 8,
        }
    }
}

/// What the layers share.
pub(super) struct Layers {
    authentication: Authentication,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    meter: Option<Arc<CallMeter>>,
    in_flight: InFlight,
    unfinished: Unfinished,
    failed_credentials: FailedCredentials,
    cross_origin: CrossOrigin,
}

impl Layers {
    pub(super) fn new(
        authentication: Authentication,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        meter: Option<Arc<CallMeter>>,
        limits: &CallLimits,
        cross_origin: CrossOrigin,
    ) -> Self {
        let unauthenticated = limits.unauthenticated_in_flight_max;
        Self {
            authentication,
            clock,
            meter,
            in_flight: InFlight::new(limits),
            unfinished: Unfinished::new(unauthenticated, Arc::clone(&metrics)),
            failed_credentials: FailedCredentials::new(
                unauthenticated / SHARE_OF_FAILURES,
                limits.refusal_delay_max,
            ),
            metrics,
            cross_origin,
        }
    }
}

/// Why a call is not let in.
struct Refusal {
    failure: Failure,
    // It showed credentials that nobody has.
    has_wrong_credentials: bool,
}

impl<F: Into<Failure>> From<F> for Refusal {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), has_wrong_credentials: false }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let failure = status::from_auth(error).into();
        Self { failure, has_wrong_credentials: error.is_of_credentials() }
    }
}

/// When the call must be over, in the extensions of its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Moment);

/// Takes one call through all layers. `mismatch` says why it leads to nothing. `refuse` answers in the protocol of the
/// request; so does `run`, which gets the request with its principal and deadline.
pub(super) async fn around<F: Future<Output = Response>>(
    layers: &Layers,
    call: Call,
    mismatch: Option<Failure>,
    mut request: Request,
    refuse: impl FnOnce(Failure, &HeaderValue) -> Response,
    run: impl FnOnce(Request) -> F,
) -> Response {
    let request_id = request_id::take(request.headers_mut());
    let span = tracing::info_span!(
        "call",
        method = call.name,
        request_id = request_id.to_str().unwrap_or_default()
    );
    let mut guard = CallGuard::begin(Arc::clone(&layers.metrics), call.name, Instant::now());
    let mut response = async {
        let deadline = match admit(layers, call, mismatch, &mut request, &mut guard).await {
            Ok(deadline) => deadline,
            Err(refusal) => {
                guard.release_permit();
                let failure = give_up(layers, request, refusal).await;
                return guard.answer(refuse(failure, &request_id), None);
            }
        };
        let run = run(request);
        let response = match deadline {
            None => run.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, run).await {
                Ok(response) => response,
                Err(_) => {
                    let failure = status::deadline_exceeded().into();
                    return guard.answer(refuse(failure, &request_id), None);
                }
            },
        };
        if call.is_over_when_answered() {
            guard.release_permit();
        }
        guard.answer(response, deadline)
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(request_id::HEADER, request_id);
    response
}

/// Drops a request that is not let in. What is answered to it.
async fn give_up(layers: &Layers, request: Request, refusal: Refusal) -> Failure {
    let address = AddressGroup::of(request.extensions());
    let goes_on = layers.unfinished.refuse(request).await;
    if refusal.has_wrong_credentials {
        layers.metrics.failed_credentials.inc();
        layers.failed_credentials.failed(address, layers.clock.now()).await;
    }
    if goes_on { refusal.failure } else { refusal.failure.close() }
}

/// Lets a call in; when it must be over, if its caller says so.
async fn admit(
    layers: &Layers,
    call: Call,
    mismatch: Option<Failure>,
    request: &mut Request,
    guard: &mut CallGuard,
) -> Result<Option<Moment>, Refusal> {
    // It begins to run out while credentials and bodies are awaited.
    let deadline = deadline::of(request.headers());
    host::check_host(request.uri(), request.headers())?;
    if layers.authentication.lets_in_anybody() {
        host::check_local(request, &layers.cross_origin)?;
    }
    if let Some(failure) = mismatch {
        return Err(failure.into());
    }
    match call.access {
        Access::AnyOf(permissions) => {
            let address = AddressGroup::of(request.extensions());
            let principal = authenticate(layers, request.headers(), address).await?;
            let permit = layers.in_flight.authenticated(&principal.caller, call.stays);
            guard.hold(permit.map_err(too_many_of_client)?);
            if let (Some(meter), Some(row)) = (&layers.meter, call.row) {
                let (meter, caller) = (Arc::clone(meter), principal.caller.clone());
                guard.meter(Metered { meter, row, caller, protocol: call.protocol });
            }
            if !principal.has_any(permissions) {
                return Err(AuthError::Forbidden(permissions).into());
            }
            if let Some(connection) = Connection::of(request.extensions()) {
                guard.count_on_connection(connection.permitted_call(&principal));
            }
            request.extensions_mut().insert(principal);
        }
        Access::Open => {
            head::check(request.uri(), request.headers()).map_err(|status| {
                Failure::with(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            })?;
            if let Some(limits) = call.unauthenticated_body() {
                layers.unfinished.read_body(request, limits).await?;
            }
            if call.counts {
                let address = AddressGroup::of(request.extensions());
                let permit = layers.in_flight.unauthenticated(address, call.stays);
                guard.hold(permit.map_err(too_many_unauthenticated)?);
            }
        }
    }
    let deadline = deadline.map_err(|violation| status::invalid_argument("", vec![violation]))?;
    // Nobody waits for the answer any more.
    if deadline.is_some_and(|deadline| deadline <= Moment::now()) {
        return Err(status::deadline_exceeded().into());
    }
    if let Some(deadline) = deadline {
        request.extensions_mut().insert(Deadline(deadline));
    }
    Ok(deadline)
}

fn too_many_of_client(exhausted: Exhausted) -> Status {
    match exhausted {
        Exhausted::All(max) => status::too_many_calls(max, "", RETRY_AFTER),
        Exhausted::Share(max) => status::too_many_calls(max, " of this client", RETRY_AFTER),
    }
}

fn too_many_unauthenticated(exhausted: Exhausted) -> Status {
    let (max, whose) = match exhausted {
        Exhausted::All(max) => (max, " without valid credentials"),
        Exhausted::Share(max) => (max, " without valid credentials from this address"),
    };
    status::too_many_calls(max, whose, RETRY_AFTER)
}

/// The value of a header that may come once.
fn only<'a>(
    headers: &'a HeaderMap,
    header: &HeaderName,
    name: &'static str,
) -> Result<Option<&'a [u8]>, Status> {
    let mut values = headers.get_all(header).iter();
    let value = values.next().map(HeaderValue::as_bytes);
    match values.next() {
        Some(_) => Err(status::from_auth(AuthError::Repeated(name))),
        None => Ok(value),
    }
}

/// Who is calling. A token that is signed with a key of the outside issuer that we do not have may be signed
/// with its newest.
async fn authenticate(
    layers: &Layers,
    headers: &HeaderMap,
    address: AddressGroup,
) -> Result<Principal, Refusal> {
    let credentials = Credentials {
        authorization: only(headers, &header::AUTHORIZATION, "authorization")?,
        api_key: only(headers, &API_KEY, "api-key")?,
    };
    let authentication = &layers.authentication;
    let first = authentication.authenticate(credentials, layers.clock.now());
    let issuer = match (&first, authentication.outside_issuer()) {
        (Err(AuthError::UnknownKey), Some(issuer)) => issuer,
        _ => return Ok(first?),
    };
    // Whoever waits is unauthenticated as yet.
    let permit = layers.in_flight.unauthenticated(address, false);
    let _permit = permit.map_err(too_many_unauthenticated)?;
    let answered = if issuer.refresh().request().await {
        authentication.authenticate(credentials, layers.clock.now())
    } else {
        first
    };
    Ok(answered?)
}
