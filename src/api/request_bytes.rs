//! The bytes of a request that is one message. They are read whole before anything is made of them: what has been decoded
//! may be forty times as large as what came in, and must not wait for the rest of a slow request. Time, size, and the
//! number of large requests that are in memory at once have limits.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{
    layers::{BodyLimits, CallLimits},
    status,
    zstd_window::{ZstdError, ZstdFault},
};

/// A request up to this size may always come in. Twenty-five records have four KiB, a thousand have 120.
const SMALL_BYTES_MAX: usize = 256 << 10;
/// What is read of a body that nobody wants.
const DISCARDED_BYTES_MAX: usize = 64 << 10;
/// And for how long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
/// In front of a message of gRPC: whether it is compressed, and its length.
const GRPC_PREFIX_BYTES: usize = 5;

/// Why a request was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It has more bytes than this.
    TooLarge(usize),
    /// This many large requests are in memory already.
    NoRoom(usize),
    /// It did not come in this time.
    TooSlow(Duration),
    /// It broke off.
    Broken,
    /// It cannot be decompressed.
    Zstd(ZstdFault),
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge(bytes_max) => status::body_too_large(bytes_max),
            Unread::NoRoom(requests_max) => status::too_many_large_requests(requests_max),
            Unread::TooSlow(limit) => status::slow_body(limit),
            Unread::Broken => status::broken_body(),
            Unread::Zstd(fault) => fault.into(),
        }
    }
}

/// Keeps the room of a large request for as long as it may be in memory.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

/// Reads requests within the limits of the process.
#[derive(Debug, Clone)]
pub(super) struct RequestBytes {
    bytes_max: usize,
    timeout: Duration,
    large: Arc<Semaphore>,
    large_max: usize,
}

impl RequestBytes {
    pub(super) fn new(limits: &CallLimits) -> Self {
        let large_max = limits.large_requests_max;
        Self {
            bytes_max: limits.message_bytes_max,
            timeout: limits.request_timeout,
            large: Arc::new(Semaphore::new(large_max.min(Semaphore::MAX_PERMITS))),
            large_max,
        }
    }

    /// The largest message.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// A body that is one message.
    pub(super) async fn read(&self, body: Body) -> Result<(Bytes, Held), Unread> {
        self.read_up_to(body, self.bytes_max).await
    }

    /// A request over gRPC of one message, with what stands in front of it.
    pub(super) async fn read_grpc(&self, body: Body) -> Result<(Body, Held), Unread> {
        let with_prefix = self.bytes_max.saturating_add(GRPC_PREFIX_BYTES);
        let read = self.read_up_to(body, with_prefix).await;
        let (bytes, held) = read.map_err(|unread| match unread {
            Unread::TooLarge(_) => Unread::TooLarge(self.bytes_max),
            other => other,
        })?;
        Ok((Body::from(bytes), held))
    }

    async fn read_up_to(&self, body: Body, bytes_max: usize) -> Result<(Bytes, Held), Unread> {
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(Unread::TooLarge(bytes_max));
        }
        let mut held = Held::default();
        let make_room = |bytes: usize| {
            if bytes > bytes_max {
                return Err(Unread::TooLarge(bytes_max));
            }
            if bytes > SMALL_BYTES_MAX && held.0.is_none() {
                let room = Arc::clone(&self.large).try_acquire_owned();
                held.0 = Some(room.map_err(|_| Unread::NoRoom(self.large_max))?);
            }
            Ok(())
        };
        let bytes = within(self.timeout, all(body, make_room)).await?;
        Ok((bytes, held))
    }
}

/// A body of an unauthenticated request, which may be given up in the middle.
#[derive(Debug)]
pub(super) struct SmallBody {
    body: Body,
    bytes: BytesMut,
    bytes_max: usize,
}

impl SmallBody {
    pub(super) fn new(body: Body, bytes_max: usize) -> Self {
        Self { body, bytes: BytesMut::new(), bytes_max }
    }

    /// Reads to the end. Nothing is lost if the future is dropped before, and another one goes on.
    pub(super) async fn read(&mut self) -> Result<(), Unread> {
        let too_large = Unread::TooLarge(self.bytes_max);
        if self.body.size_hint().lower() > self.bytes_max as u64 {
            return Err(too_large);
        }
        while let Some(data) = next_data(&mut self.body).await? {
            if self.bytes.len() + data.len() > self.bytes_max {
                return Err(too_large);
            }
            self.bytes.extend_from_slice(&data);
        }
        Ok(())
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    /// What has not been read.
    pub(super) fn into_unread(self) -> Body {
        self.body
    }
}

/// The body of a request that needs no credentials, if it was not read before.
pub(super) async fn read_small(body: Body) -> Result<Bytes, Unread> {
    let BodyLimits { bytes_max, timeout } = BodyLimits::SIGN_IN;
    let mut body = SmallBody::new(body, bytes_max);
    within(timeout, body.read()).await?;
    Ok(body.into_bytes())
}

/// Reads a body that nobody wants and drops it. Whether it came to its end within limits that unauthenticated callers may
/// cost us.
pub(super) async fn discard(body: Body) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let mut body = Limited::new(body, DISCARDED_BYTES_MAX);
    let to_the_end = async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(DISCARD_TIMEOUT, to_the_end).await.unwrap_or(false)
}

/// What is read within a time.
pub(super) async fn within<T>(
    limit: Duration,
    reading: impl Future<Output = Result<T, Unread>>,
) -> Result<T, Unread> {
    tokio::time::timeout(limit, reading).await.map_err(|_| Unread::TooSlow(limit))?
}

/// All data of a body. `make_room` says whether there may be so many bytes of it.
async fn all(
    mut body: Body,
    mut make_room: impl FnMut(usize) -> Result<(), Unread>,
) -> Result<Bytes, Unread> {
    let Some(first) = next_data(&mut body).await? else { return Ok(Bytes::new()) };
    make_room(first.len())?;
    // Most requests come in one piece, which is taken as it is.
    let Some(second) = next_data(&mut body).await? else { return Ok(first) };
    // Others are put together: a piece may keep alive more memory than it has bytes.
    make_room(first.len() + second.len())?;
    let mut whole = BytesMut::with_capacity(first.len() + second.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    drop((first, second));
    while let Some(more) = next_data(&mut body).await? {
        make_room(whole.len() + more.len())?;
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

/// The next bytes; `None` at the end.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Unread> {
    while !body.is_end_stream() {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                // Trailers of a request say nothing here.
                Ok(_) | Err(_) => {}
            },
            Some(Err(error)) => {
                if let Some(fault) = ZstdError::within(&error) {
                    return Err(Unread::Zstd(fault));
                }
                tracing::debug!(%error, "a request broke off");
                return Err(Unread::Broken);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    fn requests(large_requests_max: usize) -> RequestBytes {
        RequestBytes::new(&CallLimits { large_requests_max, ..CallLimits::default() })
    }

    fn in_pieces(piece: usize, pieces: usize) -> Body {
        let piece = Bytes::from(vec![7; piece]);
        Body::from_stream(stream::iter(
            (0..pieces).map(move |_| Ok::<_, Infallible>(piece.clone())),
        ))
    }

    #[tokio::test]
    async fn requests_are_read_whole_however_they_come() {
        let requests = requests(1);
        assert!(requests.read(Body::empty()).await.unwrap().0.is_empty());
        for (piece, pieces) in [(1, 1), (1, 2), (0, 3), (3, 1000), (1000, 3)] {
            let (bytes, held) = requests.read(in_pieces(piece, pieces)).await.unwrap();
            assert_eq!(bytes, vec![7; piece * pieces]);
            assert!(held.0.is_none());
        }
        let over = requests.bytes_max() + 1;
        for body in [in_pieces(over, 1), in_pieces(1 << 20, 5), Body::from(vec![0; over])] {
            assert!(matches!(requests.read(body).await.unwrap_err(), Unread::TooLarge(_)));
        }
        let prefixed = requests.bytes_max() + GRPC_PREFIX_BYTES;
        let (body, _held) = requests.read_grpc(in_pieces(prefixed, 1)).await.unwrap();
        assert_eq!(body.size_hint().exact(), Some(prefixed as u64));
        let refused = requests.read_grpc(in_pieces(prefixed + 1, 1)).await.unwrap_err();
        assert!(matches!(refused, Unread::TooLarge(limit) if limit == requests.bytes_max()));
    }

    #[tokio::test]
    async fn only_so_many_large_requests_are_in_memory() {
        let requests = requests(2);
        let large = || in_pieces(SMALL_BYTES_MAX + 1, 1);
        let read = async |body| requests.read(body).await;
        let first = read(large()).await.unwrap();
        let second = read(in_pieces(SMALL_BYTES_MAX, 2)).await.unwrap();
        assert!(matches!(read(large()).await.unwrap_err(), Unread::NoRoom(2)));
        // Small ones pass.
        read(in_pieces(SMALL_BYTES_MAX, 1)).await.unwrap();
        drop(first);
        read(large()).await.unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn small_body_may_be_given_up_and_read_on() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(4);
        let received = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut body = SmallBody::new(Body::from_stream(received), 6);
        for piece in ["ab", "c"] {
            sender.send(Ok(piece.into())).await.unwrap();
        }
        assert!(body.read().now_or_never().is_none(), "it is not complete");
        sender.send(Ok("def".into())).await.unwrap();
        drop(sender);
        body.read().await.unwrap();
        assert_eq!(body.into_bytes(), "abcdef");
        for over in [Body::from("1234567"), in_pieces(4, 2)] {
            let refused = SmallBody::new(over, 6).read().await.unwrap_err();
            assert!(matches!(refused, Unread::TooLarge(6)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_is_given_up() {
        let never = || {
            let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
            Body::from_stream(begun.chain(stream::pending()))
        };
        let requests = requests(1);
        let given_up = requests.read(never()).await.unwrap_err();
        assert!(matches!(given_up, Unread::TooSlow(after) if after == requests.timeout));
        let given_up = read_small(never()).await.unwrap_err();
        assert!(matches!(given_up, Unread::TooSlow(after) if after == BodyLimits::SIGN_IN.timeout));
    }
}
