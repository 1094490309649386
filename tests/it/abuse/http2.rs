//! A connection of HTTP/2 whose peer we play by hand. It answers settings and pings as it must, and does nothing else by
//! itself.

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use super::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame, settings,
};

const PIECE_BYTES: usize = 16 << 10;
/// The connection's window before it grows.
const FIRST_WINDOW_BYTES: usize = 65_535;
/// The window of each stream, as the server's settings have it.
const STREAM_WINDOW_BYTES: usize = 1 << 20;

/// What the server has sent.
#[derive(Default)]
pub struct Seen {
    // Streams with an answer that has begun, and those that ended, by the answer's end or by a reset.
    answered: Mutex<HashSet<u32>>,
    ended: Mutex<HashSet<u32>>,
    // By how much windows have grown; that of stream 0 is the connection's.
    granted: Mutex<HashMap<u32, usize>>,
    has_settings: AtomicBool,
    /// Bytes of answers.
    pub data: AtomicUsize,
    /// The error code it left with, if it did.
    pub goaway: Mutex<Option<u32>>,
}

impl Seen {
    pub fn answered(&self) -> usize {
        self.answered.lock().len()
    }

    pub fn ended(&self) -> usize {
        self.ended.lock().len()
    }

    pub fn has_ended(&self, stream: u32) -> bool {
        self.ended.lock().contains(&stream)
    }

    fn granted(&self, stream: u32) -> usize {
        self.granted.lock().get(&stream).copied().unwrap_or_default()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("answered", &self.answered())
            .field("ended", &self.ended())
            .field("data", &self.data)
            .field("goaway", &self.goaway)
            .finish()
    }
}

pub struct Http2 {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    pub seen: Arc<Seen>,
    is_closed: watch::Receiver<bool>,
    reading: JoinHandle<()>,
    // Bytes of all bodies that were sent with regard to windows.
    sent: AtomicUsize,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Http2 {
    /// Connects and sends the preface with these settings.
    pub async fn open(to: SocketAddr, ours: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        writer.write_all(&[PREFACE, &settings(ours)].concat()).await?;
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let seen = Arc::new(Seen::default());
        let (closing, is_closed) = watch::channel(false);
        let reading = tokio::spawn({
            let (writer, seen) = (Arc::clone(&writer), Arc::clone(&seen));
            async move {
                // How it ends says nothing: the server may close in the middle of a frame.
                let _ = read(reader, writer, &seen).await;
                let _ = closing.send(true);
            }
        });
        Ok(Self { writer, seen, is_closed, reading, sent: AtomicUsize::new(0) })
    }

    /// Sends bytes as they are.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.writer.lock().await.write_all(bytes).await
    }

    /// Sends a body as the server's windows allow it; `false` if it does not want all of it.
    pub async fn send_body(&self, stream: u32, body: &[u8]) -> bool {
        let mut sent = 0;
        for piece in body.chunks(PIECE_BYTES) {
            let is_refused = || self.is_closed() || self.seen.has_ended(stream);
            let has_room = || {
                let in_all = self.sent.load(Ordering::Relaxed) + piece.len();
                self.seen.has_settings.load(Ordering::Relaxed)
                    && in_all <= FIRST_WINDOW_BYTES + self.seen.granted(0)
                    && sent + piece.len() <= STREAM_WINDOW_BYTES + self.seen.granted(stream)
            };
            while !has_room() && !is_refused() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if is_refused() || self.send(&frame(DATA, 0, stream, piece)).await.is_err() {
                return false;
            }
            sent += piece.len();
            self.sent.fetch_add(piece.len(), Ordering::Relaxed);
        }
        true
    }

    pub fn is_closed(&self) -> bool {
        *self.is_closed.borrow()
    }

    /// Whether the server closes within `limit`.
    pub async fn closes_within(&self, limit: Duration) -> bool {
        let mut is_closed = self.is_closed.clone();
        tokio::time::timeout(limit, is_closed.wait_for(|closed| *closed)).await.is_ok()
    }

    /// Waits until so many streams have ended, or the connection has.
    pub async fn ended(&self, streams: usize) {
        while self.seen.ended() < streams && !self.is_closed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn read(
    reader: OwnedReadHalf,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    seen: &Seen,
) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::with_capacity(64 << 10, reader);
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; bytes as usize];
        reader.read_exact(&mut payload).await?;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match kind {
            SETTINGS if flags & ACK == 0 => {
                writer.lock().await.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
                seen.has_settings.store(true, Ordering::Relaxed);
            }
            WINDOW_UPDATE => {
                let by = u32::from_be_bytes(payload.get(..4).unwrap().try_into().unwrap());
                *seen.granted.lock().entry(stream).or_default() += by as usize;
            }
            PING if flags & ACK == 0 => {
                writer.lock().await.write_all(&frame(PING, ACK, 0, &payload)).await?;
            }
            HEADERS | DATA => {
                if kind == DATA {
                    seen.data.fetch_add(bytes as usize, Ordering::Relaxed);
                } else {
                    seen.answered.lock().insert(stream);
                }
                if flags & END_STREAM != 0 {
                    seen.ended.lock().insert(stream);
                }
            }
            RST_STREAM => {
                seen.ended.lock().insert(stream);
            }
            GOAWAY => {
                let code = payload.get(4..8).unwrap().try_into().unwrap();
                *seen.goaway.lock() = Some(u32::from_be_bytes(code));
            }
            _ => {}
        }
    }
}
