//! The connections of a simulated host. When its process dies the system closes them, in the order in which they were
//! opened: tokio drops the tasks of a runtime in an order that depends on how many tasks the whole program has had, and
//! a seed must do the same whatever else runs.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// All connections of one host, through all lives of its process.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<Opened>>);

#[derive(Debug, Default)]
struct Opened {
    count: u64,
    is_dying: bool,
    /// Whose tasks are gone, by number.
    orphans: BTreeMap<u64, TcpStream>,
}

impl Connections {
    /// Another one is open.
    pub fn opened(&self, stream: TcpStream) -> Connection {
        let mut opened = self.0.lock();
        opened.count += 1;
        Connection { stream: Some(stream), number: opened.count, of: self.clone() }
    }

    /// The process is about to die: from now on the system has what its tasks leave.
    pub fn outlive_tasks(&self) {
        self.0.lock().is_dying = true;
    }

    /// Belongs to the future of the process itself, which is dropped after all of its tasks.
    pub fn closed_by_system(&self) -> ClosedBySystem {
        ClosedBySystem(self.clone())
    }
}

/// Closes the connections that a dead process has left.
pub struct ClosedBySystem(Connections);

impl Drop for ClosedBySystem {
    fn drop(&mut self) {
        let orphans = {
            let mut opened = self.0.0.lock();
            opened.is_dying = false;
            std::mem::take(&mut opened.orphans)
        };
        orphans.into_values().for_each(drop);
    }
}

/// One connection, seen from one of its ends.
#[derive(Debug)]
pub struct Connection {
    /// Taken when this is dropped.
    stream: Option<TcpStream>,
    number: u64,
    of: Connections,
}

impl Connection {
    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("taken by drop alone"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut opened = self.of.0.lock();
        if opened.is_dying {
            opened.orphans.extend(self.stream.take().map(|stream| (self.number, stream)));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}
