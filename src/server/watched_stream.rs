//! A stream that knows whether its peer has begun to speak, and since when it has not listened.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// The HTTP/2 preface; no HTTP/1.1 request with its Host header is shorter.
const OPENING_BYTES: usize = 24;

/// What is known of the peer, for those who do not read or write themselves.
#[derive(Debug, Default)]
pub(super) struct PeerProgress {
    opened: AtomicBool,
    blocked_since: Mutex<Option<Instant>>,
}

impl PeerProgress {
    /// Whether the peer has sent enough to be taken seriously.
    pub(super) fn has_opened(&self) -> bool {
        self.opened.load(Ordering::Relaxed)
    }

    /// Since when nothing can be written to it.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        *self.blocked_since.lock()
    }
}

/// Watches what a peer sends until it is an opening, and what it takes.
pub(super) struct WatchedStream<S> {
    inner: S,
    received: usize,
    is_blocked: bool,
    peer: Arc<PeerProgress>,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(inner: S, peer: Arc<PeerProgress>) -> Self {
        Self { inner, received: 0, is_blocked: false, peer }
    }

    fn wrote<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        // Nearly always there is nothing to note.
        if self.is_blocked != polled.is_pending() {
            self.is_blocked = polled.is_pending();
            *self.peer.blocked_since.lock() = self.is_blocked.then(Instant::now);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if self.received < OPENING_BYTES {
            self.received += buffer.filled().len() - before;
            if self.received >= OPENING_BYTES {
                self.peer.opened.store(true, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_speaks_and_does_not_listen_is_noticed() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let peer = Arc::new(PeerProgress::default());
        let mut stream = WatchedStream::new(ours, Arc::clone(&peer));
        theirs.write_all(&[0; OPENING_BYTES - 1]).await.unwrap();
        stream.read_exact(&mut [0; OPENING_BYTES - 1]).await.unwrap();
        assert!(!peer.has_opened());
        theirs.write_all(&[0]).await.unwrap();
        stream.read_exact(&mut [0; 1]).await.unwrap();
        assert!(peer.has_opened());

        stream.write_all(&[0; 64]).await.unwrap();
        assert!(peer.blocked_since().is_none());
        tokio::select! {
            biased;
            result = stream.write_all(&[0; 1]) => panic!("{result:?}"),
            () = tokio::task::yield_now() => {}
        }
        assert!(peer.blocked_since().is_some());
        theirs.read_exact(&mut [0; 64]).await.unwrap();
        stream.write_all(&[0; 1]).await.unwrap();
        assert!(peer.blocked_since().is_none());
    }
}
