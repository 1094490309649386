//! What stdout and stderr are connected to, and what may be done there.

use std::{
    fmt,
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::environment;

/// Columns when stdout is no terminal.
const WIDTH_DEFAULT: usize = 100;

/// Columns that a chart may take.
pub(super) fn width() -> usize {
    terminal_size::terminal_size()
        .map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0))
        .clamp(40, 240)
}

/// Whether stdout may be coloured.
pub(super) fn colour() -> bool {
    io::stdout().is_terminal() && !environment::no_color()
}

/// Tells the user something that is not data.
pub(super) fn tell(text: impl fmt::Display) {
    // If stderr is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A progress bar on stderr; without a terminal it is not drawn.
pub(super) fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(8)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(length, target);
    // A template that cannot be read would only cost the looks.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
