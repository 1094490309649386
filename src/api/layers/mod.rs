//! What every call passes on its way to a handler and back, in this order: request id, span and
//! metrics, authentication, a place among the calls in flight, permission, the deadline.
//!
//! Who is calling is found out before a place is taken, since strangers must not take those of callers. That costs a
//! look-up in memory, or at most one signature to be verified.

mod answer;
mod deadline;
mod places;
mod request_id;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant as Moment;
use tonic::Status;
use tracing::Instrument as _;

use self::{
    answer::{CallGuard, Metered},
    places::{Full, Place, Places},
};
pub(super) use self::{
    answer::{HoldsNothing, Outcome},
    request_id::HEADER as REQUEST_ID,
};
use super::{
    actor::Acquaintance,
    client_rates::ClientRate,
    metrics::Metrics,
    self_metering::{CallMeter, Protocol},
    status,
};
use crate::{
    auth::{
        AuthError, Authentication, Credentials, Principal,
        rpc_permissions::{self, Access, RPC_ACCESS},
    },
    service::clock::Clock,
};

/// Suggested to callers that are refused because too many calls are under way.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Stands for all paths that are no method, in metrics and logs.
const UNKNOWN_METHOD: &str = "unknown";
/// Where an API key stands.
const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// Methods that need no place.
const HEALTH_CHECKS: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"];
/// Stands for all documents.
const DOCUMENT: &str = "document";
/// Stands for the token endpoints.
const TOKEN: &str = "token";

/// Limits of single calls. Those of connections are the server's.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Calls under way in the whole process whose callers are known; health checks do not count. One client may have
    /// three quarters of them. Default 1024.
    pub calls_in_flight_max: usize,
    /// Those of them whose callers send streams, which may stay for ever. Default 512.
    pub streams_in_flight_max: usize,
    /// Calls under way without valid credentials: signing in, documents, reflection, refused requests. Half of them may
    /// be streams. Default 512.
    pub strangers_in_flight_max: usize,
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
            strangers_in_flight_max: 512,
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
    places: Places,
}

impl Layers {
    pub(super) fn new(
        authentication: Authentication,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        meter: Option<Arc<CallMeter>>,
        limits: &CallLimits,
    ) -> Self {
        Self { authentication, clock, metrics, meter, places: Places::new(limits) }
    }
}

/// A call before anything is known of its caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Its name in metrics and logs.
    name: &'static str,
    /// The row of `RPC_ACCESS`, if it is a method.
    row: Option<usize>,
    access: Access,
    protocol: Protocol,
    /// Whether it takes a place among the calls in flight.
    counts: bool,
    /// Whether its caller may keep it open for as long as it likes.
    stays: bool,
}

impl Call {
    /// A call of the method with this gRPC path.
    pub(super) fn of_method(path: &str, protocol: Protocol) -> Self {
        let row = rpc_permissions::row_of(path);
        match row.and_then(|row| RPC_ACCESS.get(row)) {
            Some((name, access)) => Self {
                name,
                row,
                access: *access,
                protocol,
                // Health checks must get through when everything else is full, and are answered at once.
                counts: !HEALTH_CHECKS.contains(name),
                stays: rpc_permissions::STREAMS.contains(name),
            },
            None => Self::unknown(),
        }
    }

    const fn open(name: &'static str) -> Self {
        Self {
            name,
            row: None,
            access: Access::Open,
            protocol: Protocol::Rest,
            counts: true,
            stays: false,
        }
    }

    /// Whether its answer may be left lying without harm: it is small, or shared by all who ask for it.
    fn is_over_when_answered(&self) -> bool {
        self.access == Access::Open && !self.stays
    }

    /// How its request comes in over gRPC.
    pub(super) fn intake(&self) -> Intake {
        match (self.row, self.access) {
            // Nobody looks at it: it is read and dropped where the call is refused.
            (None, _) => Intake::AsItComes,
            (Some(_), _) if rpc_permissions::CLIENT_STREAMS.contains(&self.name) => {
                Intake::AsItComes
            }
            (Some(_), Access::Open) if !self.counts => Intake::OfProbe,
            (Some(_), Access::Open) => Intake::OfStranger,
            (Some(_), Access::AnyOf(_)) => Intake::Whole,
        }
    }

    /// A request for something that does not exist.
    pub(super) const fn unknown() -> Self {
        Self::open(UNKNOWN_METHOD)
    }

    /// A request of somebody who is about to sign in.
    pub(super) const fn token() -> Self {
        Self::open(TOKEN)
    }

    /// A request for a document that anybody may read.
    pub(super) const fn document() -> Self {
        Self::open(DOCUMENT)
    }
}

/// How the request of a call comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// Message by message.
    AsItComes,
    /// One message, which is read whole before it is looked at.
    Whole,
    /// The same from somebody who need not be known, so there is less patience and room.
    OfStranger,
    /// The same for a call that takes no place, so there is hardly any.
    OfProbe,
}

/// When the call must be over, in the extensions of its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Moment);

/// Takes one call through all layers. `refuse` answers in the protocol of the request, and gets the body if
/// nobody has begun to read it; so does `run`, which gets the request with its principal and deadline.
pub(super) async fn around<F: Future<Output = Response>>(
    layers: &Layers,
    call: Call,
    mut request: Request,
    refuse: impl AsyncFnOnce(Status, Option<Body>, &HeaderValue) -> Response,
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
        let deadline = match admit(layers, call, &mut request, &mut guard).await {
            Ok(deadline) => deadline,
            Err(status) => {
                // A body that nobody wants is read, so that the answer arrives, in a place of its own or not at all.
                if !guard.has_place()
                    && let Ok(place) = layers.places.for_stranger(false)
                {
                    guard.hold(place);
                }
                let unread = guard.has_place().then(|| request.into_body());
                let refused = refuse(status, unread, &request_id).await;
                guard.leave_place();
                return guard.answer(refused, None);
            }
        };
        let Some(deadline) = deadline else {
            let response = run(request).await;
            if call.is_over_when_answered() {
                guard.leave_place();
            }
            return guard.answer(response, None);
        };
        // Nobody waits for the answer any more.
        if deadline <= Moment::now() {
            let refused =
                refuse(status::deadline_exceeded(), Some(request.into_body()), &request_id).await;
            return guard.answer(refused, None);
        }
        request.extensions_mut().insert(Deadline(deadline));
        match tokio::time::timeout_at(deadline, run(request)).await {
            Ok(response) => {
                if call.is_over_when_answered() {
                    guard.leave_place();
                }
                guard.answer(response, Some(deadline))
            }
            Err(_) => {
                guard.answer(refuse(status::deadline_exceeded(), None, &request_id).await, None)
            }
        }
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(request_id::HEADER, request_id);
    response
}

/// Lets a call in; when it must be over, if its caller says so.
async fn admit(
    layers: &Layers,
    call: Call,
    request: &mut Request,
    guard: &mut CallGuard,
) -> Result<Option<Moment>, Status> {
    if let Access::AnyOf(permissions) = call.access {
        let principal = authenticate(layers, request.headers()).await?;
        if let Some(acquaintance) = request.extensions().get::<Acquaintance>() {
            acquaintance.make();
        }
        guard.hold(layers.places.for_known(&principal.caller, call.stays).map_err(too_many)?);
        if let (Some(meter), Some(row)) = (&layers.meter, call.row) {
            let (meter, caller) = (Arc::clone(meter), principal.caller.clone());
            guard.meter(Metered { meter, row, caller, protocol: call.protocol });
        }
        if !principal.has_any(permissions) {
            return Err(status::from_auth(AuthError::Forbidden(permissions)));
        }
        request.extensions_mut().insert(principal);
    } else if call.counts {
        guard.hold(layers.places.for_stranger(call.stays).map_err(too_many)?);
    }
    deadline::of(request.headers())
        .map_err(|violation| status::invalid_argument("", vec![violation]))
}

fn too_many(full: Full) -> Status {
    match full {
        Full::Process(calls_max) => status::too_many_calls(calls_max, "", RETRY_AFTER),
        Full::Client(calls_max) => {
            status::too_many_calls(calls_max, " of this client", RETRY_AFTER)
        }
    }
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
async fn authenticate(layers: &Layers, headers: &HeaderMap) -> Result<Principal, Status> {
    let credentials = Credentials {
        authorization: only(headers, &header::AUTHORIZATION, "authorization")?,
        api_key: only(headers, &API_KEY, "api-key")?,
    };
    let authentication = &layers.authentication;
    let first = authentication.authenticate(credentials, layers.clock.now());
    let issuer = match (&first, authentication.outside_issuer()) {
        (Err(AuthError::UnknownKey), Some(issuer)) => issuer,
        _ => return first.map_err(status::from_auth),
    };
    // Whoever waits is a stranger as yet.
    let _place: Place = layers.places.for_stranger(false).map_err(too_many)?;
    let answered = if issuer.refresh().request().await {
        authentication.authenticate(credentials, layers.clock.now())
    } else {
        first
    };
    answered.map_err(status::from_auth)
}
