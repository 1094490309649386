//! Answers on their way out, in pieces, and which of them their peer does not take. With HTTP/2 a peer decides for each
//! answer how much it takes, and may answer pings all the while; nothing but this notices.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// One piece. What has been handed over is in memory until the peer takes it, and no longer counts as a call.
const PIECE_BYTES: usize = 16 << 10;

/// An answer may wait through so many whole rounds.
pub(super) const ROUNDS_MAX: usize = 4;
/// The round of now, that in which the oldest began to wait, and those between. A power of two, so that counting rounds may
/// wrap.
const ROUNDS_KEPT: usize = 8;

/// The answers of one connection that wait for their peer, by the round in which they began to. Every answer comes by here,
/// so that nothing is looked up, and no clock read.
#[derive(Debug, Default)]
pub(super) struct WaitingAnswers {
    round: AtomicUsize,
    since: [AtomicUsize; ROUNDS_KEPT],
}

impl WaitingAnswers {
    /// Begins the next round. Whether an answer has waited through [`ROUNDS_MAX`].
    pub(super) fn next_round(&self) -> bool {
        let round = self.round.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.of(round.wrapping_sub(ROUNDS_MAX + 1)).load(Ordering::Relaxed) > 0
    }

    fn of(&self, round: usize) -> &AtomicUsize {
        let [first, ..] = &self.since;
        self.since.get(round % ROUNDS_KEPT).unwrap_or(first)
    }
}

/// An answer in pieces.
pub(super) struct PacedBody<B> {
    inner: B,
    rest: Bytes,
    // The round in which it began to wait.
    waits_since: Option<usize>,
    waiting: Arc<WaitingAnswers>,
}

impl<B> PacedBody<B> {
    pub(super) fn new(inner: B, waiting: Arc<WaitingAnswers>) -> Self {
        Self { inner, rest: Bytes::new(), waits_since: None, waiting }
    }

    /// Asked for more: what came before has found room.
    fn goes_on(&mut self) {
        if let Some(round) = self.waits_since.take() {
            self.waiting.of(round).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Hands out a piece, and waits until there is room for the next.
    fn piece(&mut self, mut data: Bytes) -> Bytes {
        if data.len() > PIECE_BYTES {
            self.rest = data.split_off(PIECE_BYTES);
        }
        let round = self.waiting.round.load(Ordering::Relaxed);
        self.waiting.of(round).fetch_add(1, Ordering::Relaxed);
        self.waits_since = Some(round);
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
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn answer(bytes: usize, waiting: &Arc<WaitingAnswers>) -> PacedBody<Full<Bytes>> {
        PacedBody::new(Full::new(vec![7; bytes].into()), Arc::clone(waiting))
    }

    fn waiting_since(waiting: &WaitingAnswers) -> Vec<usize> {
        waiting.since.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn answers_go_out_in_pieces() {
        let waiting = Arc::new(WaitingAnswers::default());
        let whole: Bytes = (0..PIECE_BYTES * 2 + 1).map(|number| number as u8).collect();
        let mut body = PacedBody::new(Full::new(whole.clone()), Arc::clone(&waiting));
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        let mut taken = Vec::new();
        for piece in [PIECE_BYTES, PIECE_BYTES, 1] {
            assert!(!body.is_end_stream());
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data.len(), piece);
            taken.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some((whole.len() - taken.len()) as u64));
            assert_eq!(waiting_since(&waiting).iter().sum::<usize>(), 1);
        }
        assert!(body.is_end_stream());
        assert_eq!(taken, whole);
        drop(body);
        assert_eq!(waiting_since(&waiting), [0; ROUNDS_KEPT]);
    }

    #[tokio::test]
    async fn the_answer_that_waits_too_long_is_noticed() {
        let waiting = Arc::new(WaitingAnswers::default());
        for _ in 0..3 * ROUNDS_KEPT {
            assert!(!waiting.next_round(), "nothing waits");
            let (mut left, mut taken) = (answer(1, &waiting), answer(PIECE_BYTES * 99, &waiting));
            left.frame().await.unwrap().unwrap();
            for _ in 0..ROUNDS_MAX {
                // One that goes on, however slowly, is none of them.
                taken.frame().await.unwrap().unwrap();
                assert!(!waiting.next_round());
            }
            assert!(waiting.next_round());
        }
        assert_eq!(waiting_since(&waiting), [0; ROUNDS_KEPT]);
    }
}
