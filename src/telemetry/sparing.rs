//! Spares the log: each place in the code that writes lines may write so many of them in a while. Strangers can cause most
//! of the lines that a server writes, and must not fill its disk with them. How many lines were left out is said with the
//! next one that is not.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{Level, Metadata, callsite::Identifier};
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// Lines of one place in the code …
const LINES_MAX: u32 = 20;
/// … in this time.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
}

/// Makes writers to stderr, and to nowhere for lines that are too many.
#[derive(Debug)]
pub(super) struct Sparing {
    format: LogFormat,
    // As many as there are places in the code that log.
    windows: Mutex<HashMap<Identifier, Window>>,
}

impl Sparing {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, windows: Mutex::default() }
    }

    /// Whether a line may be written now, and how many before it were not.
    fn admit(&self, place: Identifier, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock();
        let window = windows.entry(place).or_insert(Window { began: now, lines: 0, left_out: 0 });
        if now.duration_since(window.began) >= WINDOW {
            window.began = now;
            window.lines = 0;
        }
        if window.lines == LINES_MAX {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }

    fn notice(&self, left_out: u64) -> String {
        match (left_out, self.format) {
            (0, _) => String::new(),
            (_, LogFormat::Human) => {
                format!("({left_out} lines like the next one were left out)\n")
            }
            (_, LogFormat::Json) => format!(
                "{{\"level\":\"WARN\",\"message\":\"lines like the next one were left out\",\"lines\":{left_out}}}\n"
            ),
        }
    }
}

/// Where one line goes.
pub(super) enum Line {
    /// To stderr, after a notice of those that did not.
    Written(String),
    /// Nowhere.
    LeftOut,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Written(notice) = self {
            let mut stderr = io::stderr().lock();
            // A line comes in one piece, and only once is there a notice in front of it.
            stderr.write_all(std::mem::take(notice).as_bytes())?;
            stderr.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sparing {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::Written(String::new())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        // Who asks for debugging wants all of it.
        if *metadata.level() > Level::INFO {
            return self.make_writer();
        }
        match self.admit(metadata.callsite(), Instant::now()) {
            Some(left_out) => Line::Written(self.notice(left_out)),
            None => Line::LeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Remembers where the last line came from.
    #[derive(Clone, Default)]
    struct Catch(Arc<Mutex<Option<Identifier>>>);

    impl<'a> MakeWriter<'a> for Catch {
        type Writer = io::Sink;

        fn make_writer(&'a self) -> io::Sink {
            io::sink()
        }

        fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> io::Sink {
            *self.0.lock() = Some(metadata.callsite());
            io::sink()
        }
    }

    fn place() -> Identifier {
        let catch = Catch::default();
        let subscriber = tracing_subscriber::fmt().with_writer(catch.clone()).finish();
        tracing::subscriber::with_default(subscriber, || tracing::warn!("here"));
        let found = catch.0.lock().take();
        found.unwrap()
    }

    #[test]
    fn a_place_has_so_many_lines_and_says_what_it_left_out() {
        let (sparing, place) = (Sparing::new(LogFormat::Human), place());
        let began = Instant::now();
        for _ in 0..LINES_MAX {
            assert_eq!(sparing.admit(place.clone(), began), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(sparing.admit(place.clone(), began + WINDOW / 2), None);
        }
        assert_eq!(sparing.admit(place.clone(), began + WINDOW), Some(1000));
        assert_eq!(sparing.admit(place, began + WINDOW), Some(0));
    }

    #[test]
    fn the_notice_is_a_line_of_the_log() {
        let human = Sparing::new(LogFormat::Human);
        assert_eq!(human.notice(0), "");
        assert_eq!(human.notice(3), "(3 lines like the next one were left out)\n");
        let json: serde_json::Value =
            serde_json::from_str(&Sparing::new(LogFormat::Json).notice(3)).unwrap();
        assert_eq!((&json["lines"], &json["level"]), (&3.into(), &"WARN".into()));
    }
}
