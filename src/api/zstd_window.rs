//! The windows of zstd frames in requests (RFC 8878). A decoder reserves the window that a frame asks for before the first
//! byte of content, and ours take no limit for it; so frames are looked at on their way to it, and those are refused that
//! ask for more than HTTP allows (RFC 9659).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::status;

/// What RFC 9659 allows.
pub(super) const WINDOW_BYTES_MAX: u64 = 8 << 20;

const MAGIC: u32 = 0xfd2f_b528;
/// Frames without content for the decoder have one of sixteen numbers.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// In front of a message of gRPC: whether it is compressed, and its length.
const MESSAGE_PREFIX_BYTES: usize = 5;
/// The longest part of a frame that is looked at.
const FIELDS_BYTES_MAX: usize = 14;

/// Why a body is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZstdFault {
    /// A frame asks for a window of so many bytes.
    Window(u64),
    /// It does not consist of zstd frames.
    Malformed,
}

/// The error of a body that is not passed on. Its source is what a caller is told.
#[derive(Debug, thiserror::Error)]
#[error("the zstd frames of a request cannot be decoded")]
pub(super) struct ZstdError {
    pub(super) fault: ZstdFault,
    #[source]
    status: Status,
}

impl ZstdError {
    fn new(fault: ZstdFault) -> Self {
        Self { fault, status: fault.into() }
    }

    /// The fault that an error of a body was made of.
    pub(super) fn within(error: &(dyn std::error::Error + 'static)) -> Option<ZstdFault> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.fault);
            }
            next = error.source();
        }
        None
    }
}

impl From<ZstdFault> for Status {
    fn from(fault: ZstdFault) -> Self {
        match fault {
            ZstdFault::Window(bytes) => status::zstd_window_too_large(bytes, WINDOW_BYTES_MAX),
            ZstdFault::Malformed => status::broken_body(),
        }
    }
}

/// What comes next of a sequence of frames.
#[derive(Debug, Clone, Copy)]
enum Part {
    Magic,
    SkippableSize,
    Descriptor,
    /// Window, dictionary and size of the content, as the descriptor says.
    Fields {
        descriptor: u8,
    },
    Block {
        has_checksum: bool,
    },
}

/// Frames that come piece by piece.
#[derive(Debug)]
struct Frames {
    part: Part,
    // The bytes of the part that have come, and how many it has.
    held: [u8; FIELDS_BYTES_MAX],
    held_bytes: usize,
    part_bytes: usize,
    // Content that is not looked at comes before it.
    skip: u64,
}

impl Frames {
    fn new() -> Self {
        Self {
            part: Part::Magic,
            held: [0; FIELDS_BYTES_MAX],
            held_bytes: 0,
            part_bytes: 4,
            skip: 0,
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), ZstdFault> {
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (self.part_bytes - self.held_bytes).min(bytes.len());
            let Some((taken, rest)) = bytes.split_at_checked(wanted).filter(|_| self.skip == 0)
            else {
                return Ok(());
            };
            for (to, byte) in self.held.iter_mut().skip(self.held_bytes).zip(taken) {
                *to = *byte;
            }
            self.held_bytes += wanted;
            bytes = rest;
            if self.held_bytes < self.part_bytes {
                return Ok(());
            }
            self.held_bytes = 0;
            self.advance()?;
        }
    }

    /// The held part is complete.
    fn advance(&mut self) -> Result<(), ZstdFault> {
        let number = |from: usize, bytes: usize| -> u64 {
            let held = self.held.iter().skip(from).take(bytes).rev();
            held.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (part, part_bytes, skip) = match self.part {
            Part::Magic => match number(0, 4) as u32 {
                MAGIC => (Part::Descriptor, 1, 0),
                magic if magic & !0xf == SKIPPABLE_MAGIC => (Part::SkippableSize, 4, 0),
                _ => return Err(ZstdFault::Malformed),
            },
            Part::SkippableSize => (Part::Magic, 4, number(0, 4)),
            Part::Descriptor => {
                let [descriptor, ..] = self.held;
                let fields = Fields::of(descriptor);
                (Part::Fields { descriptor }, fields.bytes(), 0)
            }
            Part::Fields { descriptor } => {
                let fields = Fields::of(descriptor);
                let window = if fields.window == 0 {
                    // The whole content is the window; its size in two bytes begins at 256.
                    let least = if fields.content == 2 { 256 } else { 0 };
                    number(fields.dictionary, fields.content).saturating_add(least)
                } else {
                    let (exponent, mantissa) = (number(0, 1) >> 3, number(0, 1) & 7);
                    let base = 1 << (10 + exponent);
                    base + base / 8 * mantissa
                };
                if window > WINDOW_BYTES_MAX {
                    return Err(ZstdFault::Window(window));
                }
                (Part::Block { has_checksum: descriptor & 4 != 0 }, 3, 0)
            }
            Part::Block { has_checksum } => {
                let header = number(0, 3);
                // A block of one byte again and again has that byte only.
                let content = match header >> 1 & 3 {
                    0 | 2 => header >> 3,
                    1 => 1,
                    _ => return Err(ZstdFault::Malformed),
                };
                if header & 1 == 0 {
                    (Part::Block { has_checksum }, 3, content)
                } else {
                    (Part::Magic, 4, content + if has_checksum { 4 } else { 0 })
                }
            }
        };
        (self.part, self.part_bytes, self.skip) = (part, part_bytes, skip);
        Ok(())
    }
}

/// Bytes of the fields in a frame's header.
struct Fields {
    window: usize,
    dictionary: usize,
    content: usize,
}

impl Fields {
    fn of(descriptor: u8) -> Self {
        let is_single_segment = descriptor & 0x20 != 0;
        let content = match descriptor >> 6 {
            0 => usize::from(is_single_segment),
            flag => 1 << flag,
        };
        let dictionary = match descriptor & 3 {
            3 => 4,
            flag => usize::from(flag),
        };
        Self { window: usize::from(!is_single_segment), dictionary, content }
    }

    fn bytes(&self) -> usize {
        self.window + self.dictionary + self.content
    }
}

/// Messages of gRPC that come piece by piece.
#[derive(Debug)]
struct Messages {
    prefix: [u8; MESSAGE_PREFIX_BYTES],
    prefix_bytes: usize,
    // What is left of the message after the prefix, and its frames if it is compressed.
    left: usize,
    frames: Option<Frames>,
}

impl Messages {
    fn new() -> Self {
        Self { prefix: [0; MESSAGE_PREFIX_BYTES], prefix_bytes: 0, left: 0, frames: None }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), ZstdFault> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (of_message, rest) = bytes.split_at(self.left.min(bytes.len()));
                if let Some(frames) = &mut self.frames {
                    frames.read(of_message)?;
                }
                self.left -= of_message.len();
                bytes = rest;
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { break };
            if let Some(to) = self.prefix.get_mut(self.prefix_bytes) {
                *to = *byte;
            }
            self.prefix_bytes += 1;
            bytes = rest;
            if self.prefix_bytes == MESSAGE_PREFIX_BYTES {
                let [is_compressed, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.frames = (is_compressed == 1).then(Frames::new);
                self.prefix_bytes = 0;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Content {
    Frames(Frames),
    Messages(Messages),
}

/// A body of zstd frames, which ends with [`ZstdError`] before the first one with too large a window.
#[derive(Debug)]
pub(super) struct ZstdChecked {
    inner: Body,
    content: Content,
}

impl ZstdChecked {
    /// A body that is compressed as a whole.
    pub(super) fn whole(inner: Body) -> Body {
        Body::new(Self { inner, content: Content::Frames(Frames::new()) })
    }

    /// A body of messages of gRPC, each compressed or not.
    pub(super) fn messages(inner: Body) -> Body {
        Body::new(Self { inner, content: Content::Messages(Messages::new()) })
    }
}

impl http_body::Body for ZstdChecked {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let frame = match polled {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let read = match (frame.data_ref(), &mut self.content) {
            (None, _) => Ok(()),
            (Some(data), Content::Frames(frames)) => frames.read(data),
            (Some(data), Content::Messages(messages)) => messages.read(data),
        };
        Poll::Ready(Some(match read {
            Ok(()) => Ok(frame),
            Err(fault) => Err(ZstdError::new(fault).into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::api::status;

    const LARGE: u8 = 17 << 3;
    const LARGEST: u8 = 13 << 3;

    /// A frame of two blocks with a window as the byte says, and a checksum.
    fn frame(window: u8) -> Vec<u8> {
        let mut frame = MAGIC.to_le_bytes().to_vec();
        frame.extend([4, window]);
        frame.extend([0b10 | 100 << 3, 3, 0, 7]);
        frame.extend([1 | 5 << 3, 0, 0]);
        frame.extend(b"hello1234");
        frame
    }

    fn read(bytes: &[u8], piece: usize) -> Result<(), ZstdFault> {
        let mut frames = Frames::new();
        bytes.chunks(piece).try_for_each(|piece| frames.read(piece))
    }

    #[test]
    fn frame_with_large_window_is_refused_wherever_it_stands() {
        let mut skippable = SKIPPABLE_MAGIC.to_le_bytes().to_vec();
        skippable.extend([3, 0, 0, 0, 9, 9, 9]);
        let good = [frame(LARGEST), skippable, frame(0)].concat();
        let bad = [good.clone(), frame(LARGE)].concat();
        for piece in 1..good.len() {
            assert_eq!(read(&good, piece), Ok(()), "{piece}");
            assert_eq!(read(&bad, piece), Err(ZstdFault::Window(128 << 20)), "{piece}");
        }
        assert_eq!(read(&frame(LARGEST | 1), 99), Err(ZstdFault::Window(9 << 20)));
    }

    #[test]
    fn content_of_single_segment_is_its_window() {
        let segment = |flag: u8, content: &[u8]| {
            let mut frame = MAGIC.to_le_bytes().to_vec();
            frame.push(flag << 6 | 0x20);
            frame.extend(content);
            read(&frame, 3)
        };
        assert_eq!(segment(0, &[255]), Ok(()));
        assert_eq!(segment(1, &[255, 255]), Ok(()));
        assert_eq!(segment(2, &(8u32 << 20).to_le_bytes()), Ok(()));
        assert_eq!(segment(2, &(9u32 << 20).to_le_bytes()), Err(ZstdFault::Window(9 << 20)));
        assert_eq!(segment(3, &u64::MAX.to_le_bytes()), Err(ZstdFault::Window(u64::MAX)));
    }

    #[test]
    fn bytes_that_are_no_frames_are_refused() {
        assert_eq!(read(b"hello", 5), Err(ZstdFault::Malformed));
        let mut reserved = frame(0);
        reserved[6] |= 0b110;
        assert_eq!(read(&reserved, 9), Err(ZstdFault::Malformed));
    }

    #[tokio::test]
    async fn compressed_messages_are_checked_and_others_pass() {
        let message = |is_compressed: u8, content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            [&[is_compressed][..], &length, content].concat()
        };
        let good = [
            message(0, &frame(LARGE)),
            message(1, &frame(LARGEST)),
            message(1, &[]),
            message(1, &frame(0)),
        ]
        .concat();
        let collected = ZstdChecked::messages(Body::from(good.clone())).collect().await.unwrap();
        assert_eq!(collected.to_bytes(), good);
        let bad = [good, message(1, &frame(LARGE))].concat();
        let error = ZstdChecked::messages(Body::from(bad)).collect().await.unwrap_err();
        assert_eq!(ZstdError::within(&error), Some(ZstdFault::Window(128 << 20)));
        // What a handler of a stream answers.
        let told = Status::from_error(Box::new(error));
        let expected = status::zstd_window_too_large(128 << 20, WINDOW_BYTES_MAX);
        assert_eq!((told.code(), told.message()), (expected.code(), expected.message()));
    }
}
