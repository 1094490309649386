//! Answers on their way out, in pieces, and which of them their peer does not take. With HTTP/2 a peer decides for each
//! answer how much it takes, and may answer pings all the while; nothing but this notices.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// One piece. What has been handed over is in memory until the peer takes it, and no longer counts as a call.
const PIECE_BYTES: usize = 16 << 10;

/// The answers of one connection that wait for their peer.
#[derive(Debug, Default)]
pub(super) struct WaitingAnswers {
    next: AtomicU64,
    since: Mutex<HashMap<u64, Instant>>,
}

impl WaitingAnswers {
    /// Since when the one waits that has waited longest.
    pub(super) fn longest_since(&self) -> Option<Instant> {
        self.since.lock().values().min().copied()
    }
}

/// An answer in pieces.
pub(super) struct PacedBody<B> {
    inner: B,
    rest: Bytes,
    number: u64,
    is_waiting: bool,
    waiting: Arc<WaitingAnswers>,
}

impl<B> PacedBody<B> {
    pub(super) fn new(inner: B, waiting: Arc<WaitingAnswers>) -> Self {
        let number = waiting.next.fetch_add(1, Ordering::Relaxed);
        Self { inner, rest: Bytes::new(), number, is_waiting: false, waiting }
    }

    /// Asked for more: what came before has found room.
    fn goes_on(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.waiting.since.lock().remove(&self.number);
        }
    }

    /// Hands out a piece, and waits until there is room for the next.
    fn piece(&mut self, mut data: Bytes) -> Bytes {
        if data.len() > PIECE_BYTES {
            self.rest = data.split_off(PIECE_BYTES);
        }
        self.is_waiting = true;
        self.waiting.since.lock().insert(self.number, Instant::now());
        data
    }
}

impl<B> Drop for PacedBody<B> {
    fn drop(&mut self) {
        self.goes_on();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.goes_on();
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(self.piece(rest)))));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        polled.map(|frame| {
            let frame = match frame?.map(Frame::into_data) {
                Ok(Ok(data)) => Ok(Frame::data(self.piece(data))),
                Ok(Err(trailers)) => Ok(trailers),
                Err(error) => Err(error),
            };
            Some(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_go_out_in_pieces_and_the_one_that_waits_is_known() {
        let waiting = Arc::new(WaitingAnswers::default());
        let whole: Bytes = (0..PIECE_BYTES * 2 + 1).map(|number| number as u8).collect();
        let mut body = PacedBody::new(Full::new(whole.clone()), Arc::clone(&waiting));
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        assert_eq!(waiting.longest_since(), None);
        let mut taken = Vec::new();
        let began = Instant::now();
        for piece in [PIECE_BYTES, PIECE_BYTES, 1] {
            assert!(!body.is_end_stream());
            tokio::time::advance(Duration::from_secs(1)).await;
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data.len(), piece);
            taken.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some((whole.len() - taken.len()) as u64));
            assert_eq!(waiting.longest_since(), Some(Instant::now()));
        }
        assert!(body.is_end_stream());
        assert_eq!(taken, whole);
        let mut younger = PacedBody::new(Full::new(whole), Arc::clone(&waiting));
        tokio::time::advance(Duration::from_secs(1)).await;
        younger.frame().await.unwrap().unwrap();
        assert_eq!(waiting.longest_since(), Some(began + Duration::from_secs(3)));
        drop(body);
        assert_eq!(waiting.longest_since(), Some(began + Duration::from_secs(4)));
        drop(younger);
        assert_eq!(waiting.longest_since(), None);
    }
}
